//! Which endpoint of CouchDB a request reaches, however its path is spelt.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};

/// The header by which a `POST` may claim to be another method.
pub const METHOD_OVERRIDE: &str = "x-http-method-override";

/// What a path addresses. Names and ids are decoded, as CouchDB sees them.
///
/// Sources: `chttpd:handle_request_int`, `chttpd_db` and the `*_httpd_handlers` of CouchDB 3.5; transcripts root_and_db
/// 88-102, documents 183-187.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `/`: what the server says of itself.
    Root,
    /// `/_replicate`.
    Replicate,
    /// Anything else outside a database.
    Server,
    /// `/db`.
    Database {
        /// The database.
        db: String,
    },
    /// `POST /db`: a document whose id is in the body, or made up by CouchDB.
    PostDocument {
        /// The database.
        db: String,
    },
    /// `/db/id`, for an ordinary document.
    Document {
        /// The database.
        db: String,
        /// The document.
        id: String,
    },
    /// `/db/_design/name`, or with an encoded slash.
    DesignDocument {
        /// The database.
        db: String,
        /// With its prefix: `_design/name`.
        id: String,
    },
    /// `/db/_local/name`, or with an encoded slash.
    Local {
        /// The database.
        db: String,
        /// With its prefix: `_local/name`.
        id: String,
    },
    /// `/db/id/file…`: writing one writes the document.
    Attachment {
        /// The database.
        db: String,
        /// The document, `_design/name` included.
        id: String,
    },
    /// `/db/_bulk_docs`.
    BulkDocs {
        /// The database.
        db: String,
    },
    /// `/db/_changes`; CouchDB ignores whatever follows it in the path.
    Changes {
        /// The database.
        db: String,
    },
    /// `/db/_design/name/_update/function[/id]`: may write any document, the answer names it.
    UpdateHandler {
        /// The database.
        db: String,
        /// What the path names; an id may span segments.
        id: Option<String>,
    },
    /// `/db/_all_docs`.
    AllDocs {
        /// The database.
        db: String,
    },
    /// `/db/_all_docs/queries`.
    AllDocsQueries {
        /// The database.
        db: String,
    },
    /// `/db/_find`, and `/db/_explain`, which tells how that would be answered.
    Find {
        /// The database.
        db: String,
    },
    /// `/db/_bulk_get`.
    BulkGet {
        /// The database.
        db: String,
    },
    /// `/db/_design/name/_view/view`.
    View {
        /// The database.
        db: String,
        /// With its prefix: `_design/name`.
        design: String,
        /// The view.
        view: String,
    },
    /// `/db/_design/name/_view/view/queries`.
    ViewQueries {
        /// The database.
        db: String,
        /// With its prefix: `_design/name`.
        design: String,
        /// The view.
        view: String,
    },
    /// `/db/_revs_diff`, `/db/_missing_revs`, `/db/_ensure_full_commit`: what is asked of the target of a replication beside
    /// its writes.
    ReplicationTarget {
        /// The database.
        db: String,
    },
    /// `/db/_local_docs`, or its `/queries`.
    LocalDocs {
        /// The database.
        db: String,
    },
    /// Any other endpoint of a database.
    Other {
        /// The database.
        db: String,
    },
}

impl Route {
    /// Parses the path of a request target (no query). `method` is the effective one, see [`effective_method`].
    pub fn parse(method: &Method, path: &str) -> Self {
        // `string:tokens` drops empty segments, so doubled and trailing slashes mean nothing.
        let mut segments = path.split('/').filter(|segment| !segment.is_empty()).map(decode);
        let Some(db) = segments.next() else { return Self::Root };
        // No database may begin with an underscore save CouchDB's own.
        if db.starts_with('_') && !matches!(&*db, "_users" | "_replicator" | "_global_changes") {
            let alone = segments.next().is_none();
            return if db == "_replicate" && alone {
                Self::Replicate
            } else {
                Self::Server
            };
        }
        let db = db.into_owned();
        let Some(mut second) = segments.next() else {
            return if method == Method::POST {
                Self::PostDocument { db }
            } else {
                Self::Database { db }
            };
        };
        // `/db/_partition/p/_design/d/_view/v` is handled as `/db/_design/d/_view/v`, and so are these.
        if second == "_partition" {
            match (segments.next(), segments.next()) {
                (Some(_), Some(inner)) if matches!(&*inner, "_design" | "_all_docs" | "_find" | "_explain") => {
                    second = inner
                }
                _ => return Self::Other { db },
            }
        }
        if let Some(name) = second.strip_prefix("_local/") {
            let alone = segments.next().is_none() && !name.is_empty();
            return if alone {
                Self::Local {
                    db,
                    id: second.into_owned(),
                }
            } else {
                Self::Other { db }
            };
        }
        match &*second {
            "_changes" => Self::Changes { db },
            "_bulk_docs" | "_bulk_get" | "_find" | "_explain" if segments.next().is_some() => Self::Other { db },
            "_bulk_docs" => Self::BulkDocs { db },
            "_revs_diff" | "_missing_revs" | "_ensure_full_commit" => Self::ReplicationTarget { db },
            "_bulk_get" => Self::BulkGet { db },
            "_find" | "_explain" => Self::Find { db },
            "_all_docs" => match (segments.next(), segments.next()) {
                (None, _) => Self::AllDocs { db },
                (Some(queries), None) if queries == "queries" => Self::AllDocsQueries { db },
                _ => Self::Other { db },
            },
            "_local_docs" => match (segments.next(), segments.next()) {
                (None, _) => Self::LocalDocs { db },
                (Some(queries), None) if queries == "queries" => Self::LocalDocs { db },
                _ => Self::Other { db },
            },
            "_local" => match (segments.next(), segments.next()) {
                (Some(name), None) => Self::Local {
                    db,
                    id: format!("_local/{name}"),
                },
                _ => Self::Other { db },
            },
            "_design" => match (segments.next(), segments.next()) {
                (None, _) => Self::Other { db },
                (Some(name), None) => Self::DesignDocument {
                    db,
                    id: format!("_design/{name}"),
                },
                (Some(_), Some(action)) if action == "_update" => update_handler(db, segments),
                (Some(name), Some(action)) if action == "_view" => view(db, format!("_design/{name}"), segments),
                (Some(_), Some(action)) if is_design_action(&action) => Self::Other { db },
                (Some(name), Some(_)) => Self::Attachment {
                    db,
                    id: format!("_design/{name}"),
                },
            },
            id if id.starts_with("_design/") => match segments.next() {
                None => Self::DesignDocument {
                    db,
                    id: second.into_owned(),
                },
                Some(_) => Self::Attachment {
                    db,
                    id: second.into_owned(),
                },
            },
            id if id.starts_with('_') => Self::Other { db },
            _ => match segments.next() {
                None => Self::Document {
                    db,
                    id: second.into_owned(),
                },
                Some(_) => Self::Attachment {
                    db,
                    id: second.into_owned(),
                },
            },
        }
    }

    /// The database, if the path is in one.
    pub fn db(&self) -> Option<&str> {
        match self {
            Self::Root | Self::Replicate | Self::Server => None,
            Self::Database { db }
            | Self::PostDocument { db }
            | Self::Document { db, .. }
            | Self::DesignDocument { db, .. }
            | Self::Local { db, .. }
            | Self::Attachment { db, .. }
            | Self::BulkDocs { db }
            | Self::Changes { db }
            | Self::UpdateHandler { db, .. }
            | Self::AllDocs { db }
            | Self::AllDocsQueries { db }
            | Self::Find { db }
            | Self::BulkGet { db }
            | Self::View { db, .. }
            | Self::ViewQueries { db, .. }
            | Self::LocalDocs { db }
            | Self::ReplicationTarget { db }
            | Self::Other { db } => Some(db),
        }
    }

    /// Whether the path is in a database of replication jobs: `_replicator`, or `any/_replicator`.
    pub fn is_replicator(&self) -> bool {
        self.db()
            .is_some_and(|db| db == "_replicator" || db.ends_with("/_replicator"))
    }

    /// For logs and metrics: the kind of endpoint, never a name or an id.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Replicate => "replicate",
            Self::Server => "server",
            Self::Database { .. } => "database",
            Self::PostDocument { .. } => "post_document",
            Self::Document { .. } => "document",
            Self::DesignDocument { .. } => "design_document",
            Self::Local { .. } => "local",
            Self::LocalDocs { .. } => "local_docs",
            Self::Attachment { .. } => "attachment",
            Self::BulkDocs { .. } => "bulk_docs",
            Self::Changes { .. } => "changes",
            Self::UpdateHandler { .. } => "update_handler",
            Self::AllDocs { .. } | Self::AllDocsQueries { .. } => "all_docs",
            Self::Find { .. } => "find",
            Self::BulkGet { .. } => "bulk_get",
            Self::View { .. } | Self::ViewQueries { .. } => "view",
            Self::ReplicationTarget { .. } => "replication_target",
            Self::Other { .. } => "other",
        }
    }

    /// Whether a request of this effective method may change an ordinary document.
    pub fn writes(&self, method: &Method) -> bool {
        match self {
            Self::PostDocument { .. } => true,
            Self::BulkDocs { .. } => method == Method::POST,
            Self::Document { .. } => matches!(method.as_str(), "PUT" | "POST" | "DELETE" | "COPY"),
            // The source of a COPY may be a design document; its destination is in a header.
            Self::DesignDocument { .. } | Self::Local { .. } => method.as_str() == "COPY",
            Self::Attachment { id, .. } => {
                !id.starts_with("_design/") && (method == Method::PUT || method == Method::DELETE)
            }
            // An update function is called for any method, GET too.
            Self::UpdateHandler { .. } => true,
            _ => false,
        }
    }
}

/// The method CouchDB goes by: only a `POST` may be overridden, only to one of these, up to a `;`, case counts.
///
/// `HEAD` becomes `GET`: CouchDB then answers the `POST` with a body.
pub fn effective_method(method: &Method, headers: &HeaderMap) -> Method {
    if method != Method::POST {
        return method.clone();
    }
    let mut overriding = headers.get_all(METHOD_OVERRIDE).iter();
    // Several headers are one list to CouchDB, and a list is no method.
    let (Some(header), None) = (overriding.next(), overriding.next()) else {
        return Method::POST;
    };
    match header.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default() {
        b"GET" | b"HEAD" => Method::GET,
        b"PUT" => Method::PUT,
        b"DELETE" => Method::DELETE,
        b"TRACE" => Method::TRACE,
        b"CONNECT" => Method::CONNECT,
        b"COPY" => Method::from_bytes(b"COPY").unwrap_or(Method::POST),
        _ => method.clone(),
    }
}

/// Whether a body is in parts, of whatever kind.
pub fn is_multipart(headers: &HeaderMap) -> bool {
    const MULTIPART: &[u8] = b"multipart/";
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let begin = content_type.trim_ascii_start().get(..MULTIPART.len());
    begin.is_some_and(|begin| begin.eq_ignore_ascii_case(MULTIPART))
}

/// Decodes one path segment or query part as CouchDB does (`mochiweb_util:unquote`): `+` is a space; a `%` that begins
/// no escape stays. Bytes that are no UTF-8 become U+FFFD: no name or id may hold them.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&spaced).collect();
    Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The parameters of a query string as CouchDB reads them (`mochiweb_util:parse_qs`): `&` and `;` both separate.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split(['&', ';']).filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}

fn update_handler<'a>(db: String, mut rest: impl Iterator<Item = Cow<'a, str>>) -> Route {
    if rest.next().is_none() {
        return Route::Other { db };
    }
    let id = rest.collect::<Vec<_>>().join("/");
    Route::UpdateHandler {
        db,
        id: Some(id).filter(|id| !id.is_empty()),
    }
}

fn view<'a>(db: String, design: String, mut rest: impl Iterator<Item = Cow<'a, str>>) -> Route {
    match (rest.next(), rest.next(), rest.next()) {
        (Some(view), None, _) => Route::View {
            db,
            design,
            view: view.into_owned(),
        },
        (Some(view), Some(queries), None) if queries == "queries" => Route::ViewQueries {
            db,
            design,
            view: view.into_owned(),
        },
        _ => Route::Other { db },
    }
}

/// Any other `_name` there is an attachment (`bad_action_req`).
fn is_design_action(action: &str) -> bool {
    matches!(
        action,
        "_show" | "_list" | "_info" | "_rewrite" | "_search" | "_search_info" | "_nouveau" | "_nouveau_info"
    )
}

#[cfg(test)]
mod tests;
