//! Histories of whole systems, over a model of CouchDB's revision trees: offline clients in three versions, racing
//! proxies with stale reads, crashes between read and write, replicating masters, restored devices, stemmed histories.

mod adoption;
mod apps;
mod couch_model;
mod histories;
mod large;
mod merging;
mod odd;
mod sharing;
