//! The apps of the worlds: one that split a document, the same with fields merged, one that shares documents, one whose parts need not be
//! there, one with attachments and a script.

pub mod address_book;
pub mod chat;
pub mod planner;
mod todo;

pub use address_book::AddressBook;
pub use chat::Chat;
pub use planner::Planner;
pub use todo::{Merging, Todo};

use crate::app::Model;

pub const ALL: [&dyn Model; 5] = [&Todo, &Merging, &Planner, &AddressBook, &Chat];
