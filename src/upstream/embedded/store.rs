//! The databases: a map of open ones, and for the durable kind one redb file each in a directory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use http::StatusCode;
use percent_encoding::percent_decode_str;
use rouchdb_adapter_memory::MemoryAdapter;
use rouchdb_adapter_redb::RedbAdapter;
use rouchdb_core::adapter::Adapter;

use super::{Error, database::Database, request::quote, respond::Failure};

const EXTENSION: &str = "redb";

/// Where this server's uuid lies: PouchDB and CouchDB make it part of their checkpoints' ids, so it must outlive us.
const UUID_FILE: &str = "server-uuid";

const REVS_LIMIT: u64 = rouchdb_adapter_redb::DEFAULT_REV_LIMIT;

pub struct Store {
    databases: RwLock<BTreeMap<String, Arc<Database>>>,
    /// `None`: everything is in memory.
    dir: Option<PathBuf>,
    pub uuid: String,
    /// How many revisions of a branch are kept.
    pub revs_limit: u64,
    /// Making and deleting files takes a while: one at a time, so that nobody sees half a database.
    admin: tokio::sync::Mutex<()>,
}

impl Store {
    pub fn memory() -> Self {
        Self {
            databases: RwLock::default(),
            dir: None,
            uuid: new_uuid(),
            revs_limit: REVS_LIMIT,
            admin: tokio::sync::Mutex::default(),
        }
    }

    /// In memory, with another limit than by default.
    pub fn stemming(revs_limit: u64) -> Self {
        Self {
            revs_limit,
            ..Self::memory()
        }
    }

    pub async fn open(dir: &Path) -> Result<Self, Error> {
        let dir = dir.to_owned();
        let (dir, uuid, files) = tokio::task::spawn_blocking(move || prepare(dir))
            .await
            .map_err(Error::stopped)??;
        let mut databases = BTreeMap::new();
        for (name, path) in files {
            let database = Database::open(&name, open_file(path, &name).await?).await?;
            databases.insert(name, Arc::new(database));
        }
        Ok(Self {
            databases: databases.into(),
            dir: Some(dir),
            uuid,
            revs_limit: REVS_LIMIT,
            admin: tokio::sync::Mutex::default(),
        })
    }

    pub fn get(&self, name: &str) -> Result<Arc<Database>, Failure> {
        self.read()
            .get(name)
            .cloned()
            .ok_or_else(|| Failure::not_found("Database does not exist."))
    }

    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    pub async fn create(&self, name: &str) -> Result<(), Failure> {
        if name == "_users" || name == "_replicator" {
            return Err(Failure::lacks(&format!("{name} database")));
        }
        if !is_database_name(name) {
            let reason = format!(
                "Name: '{name}'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), \
                 +, -, and / are allowed. Must begin with a letter."
            );
            return Err(Failure::new(StatusCode::BAD_REQUEST, "illegal_database_name", reason));
        }
        let _admin = self.admin.lock().await;
        if self.read().contains_key(name) {
            let reason = "The database could not be created, the file already exists.";
            return Err(Failure::new(StatusCode::PRECONDITION_FAILED, "file_exists", reason));
        }
        let adapter: Box<dyn Adapter> = match &self.dir {
            Some(dir) => open_file(file_of(dir, name), name).await?,
            None => Box::new(MemoryAdapter::new(name).with_rev_limit(self.revs_limit)),
        };
        let database = Arc::new(Database::open(name, adapter).await?);
        self.write().insert(name.to_owned(), database);
        Ok(())
    }

    /// Feeds that are open on the database end: `destroy` tells its subscribers.
    pub async fn delete(&self, name: &str) -> Result<(), Failure> {
        let _admin = self.admin.lock().await;
        let database = self.get(name)?;
        self.write().remove(name);
        database.adapter.destroy().await?;
        if let Some(dir) = &self.dir {
            let path = file_of(dir, name);
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
            removed.map_err(Error::stopped)?.map_err(Error::Io)?;
        }
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Database>>> {
        self.databases.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Database>>> {
        self.databases
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn is_database_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_$()+-/".contains(c);
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(allowed)
}

fn file_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{}.{EXTENSION}", quote(name)))
}

async fn open_file(path: PathBuf, name: &str) -> Result<Box<dyn Adapter>, Error> {
    let name = name.to_owned();
    let opened = tokio::task::spawn_blocking(move || RedbAdapter::open(path, &name)).await;
    Ok(Box::new(opened.map_err(Error::stopped)??))
}

type Prepared = (PathBuf, String, Vec<(String, PathBuf)>);

/// Makes the directory, finds or makes the server's uuid, lists the databases.
fn prepare(dir: PathBuf) -> Result<Prepared, Error> {
    std::fs::create_dir_all(&dir)?;
    let uuid_file = dir.join(UUID_FILE);
    let uuid = match std::fs::read_to_string(&uuid_file) {
        Ok(uuid) => uuid.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let uuid = new_uuid();
            std::fs::write(&uuid_file, &uuid)?;
            uuid
        }
        Err(error) => return Err(error.into()),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .filter(|_| path.extension().is_some_and(|e| e == EXTENSION));
        if let Some(name) = stem.and_then(|stem| percent_decode_str(stem).decode_utf8().ok())
            && is_database_name(&name)
        {
            files.push((name.into_owned(), path));
        }
    }
    Ok((dir, uuid, files))
}

/// 32 hex digits that grow with time, as CouchDB's `sequential` ones do within a server's life.
pub fn new_uuid() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
