//! Opening the file: whose it is, what it holds, and making it in one step.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableError};

use super::Settings;
use super::backend::{Backend, Medium};
use super::rows::{FORMAT, META, REVISION, TIME, Written, error};
use crate::error::{Error, Kind, Result};
use crate::host::disk::Open;
use crate::host::tasks::panic_message;
use crate::host::{Disk, File};

/// The format that is written. It covers the rows; redb has a format of its own below it.
const FORMAT_NOW: u64 = 1;

/// What a file begins with.
const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// A file that is open.
pub(super) struct Opened {
    pub(super) database: Arc<Database>,
    pub(super) medium: Arc<Medium>,
    /// The number of the last revision.
    pub(super) number: u64,
    /// The store's clock at the last commit.
    pub(super) time: u64,
}

/// Takes the file for this process, making it if it does not exist.
pub(super) fn take(disk: &dyn Disk, path: &Path, settings: &Settings) -> Result<Arc<dyn File>> {
    let fail = |what: std::io::Error| at(path, explain(what));
    match disk.open(path, Open::Existing) {
        Ok(_) => disk.open(path, Open::Exclusive).map_err(fail),
        Err(missing) if missing.kind() == ErrorKind::NotFound => make(disk, path, settings),
        Err(other) => Err(fail(other)),
    }
}

/// Makes the file beside its place and moves it there when it is whole.
fn make(disk: &dyn Disk, path: &Path, settings: &Settings) -> Result<Arc<dyn File>> {
    let fail = |what: std::io::Error| at(path, explain(what));
    let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(directory) = directory {
        disk.create_directory(directory).map_err(fail)?;
    }
    let beside = beside(path);
    let file = disk.open(&beside, Open::Exclusive).map_err(fail)?;
    if disk.open(path, Open::Existing).is_ok() {
        // Somebody else has made it meanwhile.
        return disk.open(path, Open::Exclusive).map_err(fail);
    }
    // What a crash while making it has left counts for nothing.
    file.set_length(0).map_err(fail)?;
    let medium = Medium::held_back(Arc::clone(&file));
    medium.release().map_err(fail)?;
    let backend = Backend(medium);
    let database = builder(settings).create_with_backend(backend);
    let database = database.map_err(|what| at(path, error(what)))?;
    initialize(&database).map_err(|what| at(path, what))?;
    drop(database);
    file.sync().map_err(fail)?;
    disk.rename(&beside, path).map_err(fail)?;
    let directory = directory.unwrap_or(Path::new("."));
    disk.sync_directory(directory).map_err(fail)?;
    Ok(file)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn builder(settings: &Settings) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(settings.cache_bytes);
    builder.set_check_integrity_on_open(settings.check_when_opened);
    builder
}

fn initialize(database: &Database) -> Result<()> {
    let transaction = database.begin_write().map_err(error)?;
    drop(Written::open(&transaction)?);
    {
        let mut meta = transaction.open_table(META).map_err(error)?;
        for (name, value) in [(FORMAT, FORMAT_NOW), (REVISION, 0), (TIME, 0)] {
            meta.insert(name, value).map_err(error)?;
        }
    }
    transaction.commit().map_err(error)
}

/// Opens what is in a file that was taken. The file is as it was until something is written to it.
pub(super) fn open(path: &Path, file: &Arc<dyn File>, settings: &Settings) -> Result<Opened> {
    check_magic(file).map_err(|what| at(path, what))?;
    let medium = Medium::held_back(Arc::clone(file));
    let backend = Backend(Arc::clone(&medium));
    // A damaged file may be damaged in ways that redb trusts it not to be.
    let opening = AssertUnwindSafe(|| builder(settings).create_with_backend(backend));
    let database = match catch_unwind(opening) {
        Ok(Ok(database)) => database,
        Ok(Err(what)) => return Err(at(path, error(what))),
        Err(panic) => {
            let message = format!("store: the file is damaged: {}", panic_message(&*panic));
            return Err(at(path, Error::data_loss(message)));
        }
    };
    let (number, time) = read_meta(&database).map_err(|what| at(path, what))?;
    Ok(Opened {
        database: Arc::new(database),
        medium,
        number,
        time,
    })
}

fn check_magic(file: &Arc<dyn File>) -> Result<()> {
    let mut start = [0; MAGIC.len()];
    let read = file.read_at(0, &mut start);
    if read.is_ok() && &start == MAGIC {
        return Ok(());
    }
    let like = start
        .iter()
        .zip(MAGIC)
        .filter(|(is, was)| is == was)
        .count();
    match read {
        Err(short) if short.kind() != ErrorKind::UnexpectedEof => Err(explain(short)),
        // No other program's file begins with most of it.
        Ok(_) if like > MAGIC.len() / 2 => Err(Error::data_loss(
            "store: the file is damaged: its first bytes are not quite those of a store",
        )),
        _ => Err(Error::failed_precondition(
            "store: the file is no store: choose another path, or move the file away",
        )),
    }
}

fn read_meta(database: &Database) -> Result<(u64, u64)> {
    let foreign = || Error::failed_precondition("store: the file is some other program's database");
    let transaction = database.begin_read().map_err(error)?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(what)) => return Err(error(what)),
        Err(_) => return Err(foreign()),
    };
    let get = |name| {
        let found = meta.get(name).map_err(error)?;
        found.map(|value| value.value()).ok_or_else(foreign)
    };
    let format = get(FORMAT)?;
    if format != FORMAT_NOW {
        return Err(Error::failed_precondition(format!(
            "store: the file has format {format}, and this program reads format {FORMAT_NOW}: \
             open it with the program that wrote it"
        )));
    }
    Ok((get(REVISION)?, get(TIME)?))
}

/// Why a file cannot be had now: the detail `reason` of the error.
const HELD: &str = "held";

/// Whether a file could not be opened because somebody has it.
pub(super) fn is_held(error: &Error) -> bool {
    error.detail("reason") == Some(HELD)
}

/// An error of the disk as nitro's own.
pub(super) fn explain(io: std::io::Error) -> Error {
    match io.kind() {
        ErrorKind::WouldBlock => Error::unavailable(
            "store: another process has the file open: one process at a time can; \
             serve the store to the others over rpc",
        )
        .with_detail("reason", HELD),
        _ => Error::new(
            Error::from(std::io::Error::from(io.kind())).kind(),
            format!("store: {io}"),
        ),
    }
}

/// The same error, naming the file.
fn at(path: &Path, what: Error) -> Error {
    let kind = match what.kind() {
        // To whoever opens a store a missing directory or a bug of redb is the same: no store.
        Kind::Internal => Kind::DataLoss,
        kind => kind,
    };
    let text = what
        .message()
        .strip_prefix("store: ")
        .unwrap_or(what.message());
    let message = format!("store: {}: {text}", path.display());
    let details = what.details().iter();
    let named = Error::new(kind, message).with_source(what.clone());
    details.fold(named, |named, fact| {
        named.with_detail(&*fact.name, &*fact.value)
    })
}
