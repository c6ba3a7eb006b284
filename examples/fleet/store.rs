//! An artifact store over an object store: what a fleet of nodes shares.
//!
//! The `object_store` crate speaks to S3, GCS, Azure and HTTP, each by a feature of its own; here it is
//! given a store that is in memory or a folder. One object for each artifact, under its file name, and
//! one for the list of what was hot, which a new node then starts with.
//!
//! Whoever can write the objects is not trusted: wrap this in
//! [`TrustedStore::authenticated`](revmc_jit::artifact::TrustedStore::authenticated).

use object_store::{GetResult, ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use revmc_jit::artifact::{
    ArtifactError, ArtifactIndex, ArtifactKey, ArtifactStore, IndexEntry, IoProblem,
    SealedArtifact, Stored,
};
use revmc_jit::primitives::Bytes;
use std::{
    fmt,
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// The object of the list of what was hot.
const HEAT: &str = "heat.list";

/// Objects that are deleted at a time.
const DELETIONS: usize = 32;

/// What a store may take of a node.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an answer is waited for. A node's worker waits as long for an artifact.
    pub patience: Duration,
    /// How long a store that did not answer in time is not asked again: the node compiles meanwhile.
    pub rest: Duration,
    /// The longest object that is read, in bytes.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(2),
            rest: Duration::from_secs(30),
            max_bytes: 64 << 20,
        }
    }
}

/// Artifacts as objects under a common prefix.
pub struct FleetStore {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    limits: Limits,
    /// Its own, so that callers may be on any thread, also on one of another runtime. Gone on drop only.
    runtime: Option<Runtime>,
    /// Until when the store is not asked.
    rests: Mutex<Option<Instant>>,
}

impl FleetStore {
    /// A store of the objects under `prefix`.
    ///
    /// # Errors
    /// If the thread that speaks to the store is refused.
    pub fn new(objects: Arc<dyn ObjectStore>, prefix: Path, limits: Limits) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("fleet-store")
            .enable_all()
            .build()?;
        Ok(Self {
            objects,
            prefix,
            limits,
            runtime: Some(runtime),
            rests: Mutex::new(None),
        })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// Has the runtime do `work`, and waits for it.
    fn wait<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, ArtifactError> {
        let Some(runtime) = &self.runtime else {
            return Err(ArtifactError::StoreSilent);
        };
        let rests = || self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        if rests().is_some_and(|until| Instant::now() < until) {
            return Err(ArtifactError::StoreSilent);
        }
        let (done, answer) = sync_channel(1);
        let task = runtime.spawn(async move {
            // Nobody waits any more for what comes too late.
            let _ = done.send(work.await);
        });
        match answer.recv_timeout(self.limits.patience) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failed(operation, error)),
            Err(RecvTimeoutError::Timeout) => {
                task.abort();
                *rests() = Some(Instant::now() + self.limits.rest);
                Err(failed(operation, io::Error::from(io::ErrorKind::TimedOut)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(failed(
                operation,
                io::Error::other("the object store panicked"),
            )),
        }
    }

    /// The bytes of an object, if it is there.
    fn read(&self, name: &str) -> Result<Option<Bytes>, ArtifactError> {
        let (objects, path) = (Arc::clone(&self.objects), self.path(name));
        let limit = self.limits.max_bytes;
        let found = self.wait("reading an object", async move {
            let found = match objects.get(&path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            match found.meta.size {
                len if len > limit => Ok(Some(Err(len))),
                _ => GetResult::bytes(found).await.map(|bytes| Some(Ok(bytes))),
            }
        })?;
        match found {
            None => Ok(None),
            Some(Ok(bytes)) => Ok(Some(Bytes(bytes))),
            Some(Err(len)) => Err(ArtifactError::TooLarge {
                what: "object",
                len,
                limit,
            }),
        }
    }

    fn write(&self, name: &str, bytes: &Bytes) -> Result<(), ArtifactError> {
        let (objects, path) = (Arc::clone(&self.objects), self.path(name));
        let payload = PutPayload::from_bytes(bytes.0.clone());
        self.wait("writing an object", async move {
            // An object is replaced as a whole, and is there for every node when this returns.
            objects.put(&path, payload).await.map(drop)
        })
    }

    /// False if it was not there, where the store tells.
    fn remove(&self, name: &str) -> Result<bool, ArtifactError> {
        let (objects, path) = (Arc::clone(&self.objects), self.path(name));
        self.wait("deleting an object", async move {
            match objects.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                done => done.map(|()| true),
            }
        })
    }
}

impl ArtifactStore for FleetStore {
    fn load_all(&self) -> Result<ArtifactIndex, ArtifactError> {
        let (objects, prefix) = (Arc::clone(&self.objects), self.prefix.clone());
        let found = self.wait("listing the objects", async move {
            objects.list_with_delimiter(Some(&prefix)).await
        })?;
        let mut index = ArtifactIndex::default();
        for object in found.objects {
            let name = object.location.filename().unwrap_or_default();
            match ArtifactKey::from_file_name(name) {
                Some(key) => index.entries.push(IndexEntry {
                    key,
                    stored_len: object.size,
                    last_used: Some(object.last_modified.into()),
                }),
                None if name == HEAT => {}
                None => index.reject(name.to_owned(), ArtifactError::NotAnArtifact),
            }
        }
        Ok(index)
    }

    fn load(&self, key: &ArtifactKey) -> Result<Option<Bytes>, ArtifactError> {
        self.read(&key.file_name())
    }

    fn store(&self, artifact: &SealedArtifact) -> Result<Stored, ArtifactError> {
        self.write(&artifact.key().file_name(), artifact.bytes())?;
        Ok(Stored {
            len: artifact.bytes().len() as u64,
            // Objects go by a rule of the object store's, if at all.
            removed: Vec::new(),
        })
    }

    fn delete(&self, key: &ArtifactKey) -> Result<bool, ArtifactError> {
        self.remove(&key.file_name())
    }

    fn clear(&self) -> Result<usize, ArtifactError> {
        let names: Vec<_> = self.load_all()?.entries;
        let mut removed = 0;
        for some in names.chunks(DELETIONS) {
            let objects = Arc::clone(&self.objects);
            let paths: Vec<_> = some
                .iter()
                .map(|entry| self.path(&entry.key.file_name()))
                .collect();
            removed += self.wait("deleting objects", async move {
                let mut deletions = tokio::task::JoinSet::new();
                for path in paths {
                    let objects = Arc::clone(&objects);
                    deletions.spawn(async move { objects.delete(&path).await });
                }
                let mut removed = 0;
                for deleted in deletions.join_all().await {
                    match deleted {
                        Err(object_store::Error::NotFound { .. }) => {}
                        done => done.map(|()| removed += 1)?,
                    }
                }
                Ok(removed)
            })?;
        }
        self.remove(HEAT)?;
        Ok(removed)
    }

    fn load_heat(&self) -> Result<Option<Bytes>, ArtifactError> {
        self.read(HEAT)
    }

    fn store_heat(&self, list: &Bytes) -> Result<(), ArtifactError> {
        self.write(HEAT, list)
    }
}

impl Drop for FleetStore {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for it is not allowed on a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for FleetStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetStore")
            .field("objects", &self.objects)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

fn failed(operation: &'static str, error: impl Into<io::Error>) -> ArtifactError {
    ArtifactError::Io {
        operation,
        problem: IoProblem::Other,
        source: error.into(),
    }
}
