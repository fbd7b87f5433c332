//! The next snapshot, as the library wants it: entry by entry in the order of paths, made of the
//! snapshot before and what changed.
//!
//! A folder without changes is passed on whole, as a node with the id of its tree. The library
//! takes an entry for the folder itself when its path is the folder's; a folder passed on has its
//! parent's path, like a file, and so is put there untouched.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use backlot_storage::{ObjectReader, Store, StoreError};
use bytes::{Buf, Bytes};
use futures::StreamExt;
use rustic_core::repofile::Node;
use rustic_core::{ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult, TreeId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::gate::Faults;
use super::{Indexed, Taken, node};
use crate::path::{self, BESIDE_FOLDER};

/// Objects opened at once, ahead of the one that is written.
const OPENED_AT_ONCE: usize = 8;
/// Opened objects, and entries, that wait.
const WAITING_MAX: usize = 64;
/// Bytes read from the store at once.
const READ_BYTES: usize = 1 << 20;

/// A change that goes into a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The bucket's name.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Version and content id; None: there is to be nothing under the key.
    pub stored: Option<(String, String)>,
    /// Of two changes of a key the one with the higher place counts.
    pub place: u64,
}

/// Changes below a folder. By name: an object, and a folder of that name.
#[derive(Default)]
struct Folder {
    names: BTreeMap<String, Changed>,
}

#[derive(Default)]
struct Changed {
    /// Which change.
    object: Option<(usize, Change)>,
    folder: Option<Folder>,
}

impl Folder {
    fn of(changes: Vec<Change>) -> Folder {
        let mut root = Folder::default();
        for (number, change) in changes.into_iter().enumerate() {
            let mut path = vec![change.bucket.clone()];
            path.extend(path::components(&change.key));
            let last = path.pop().unwrap_or_default();
            let folder = path.into_iter().fold(&mut root, |folder, name| {
                folder.names.entry(name).or_default().folder.get_or_insert_default()
            });
            folder.names.entry(last).or_default().object = Some((number, change));
        }
        root
    }

    fn stores(&self) -> bool {
        self.names.values().any(|changed| {
            let stores = |(_, change): &(usize, Change)| change.stored.is_some();
            changed.object.as_ref().is_some_and(stores)
                || changed.folder.as_ref().is_some_and(Folder::stores)
        })
    }

    /// What is stored, roughly in the order of the walk.
    fn stored(&self, list: &mut Vec<(usize, Change)>) {
        for changed in self.names.values() {
            list.extend(changed.object.iter().filter(|(_, c)| c.stored.is_some()).cloned());
            if let Some(folder) = &changed.folder {
                folder.stored(list);
            }
        }
    }
}

/// What is done with a name of a folder.
enum Step {
    Keep(Node),
    Put(usize, Change, Option<Node>),
    Enter(Folder, Option<TreeId>),
}

/// Opens the bytes of an entry.
pub(super) enum Opener {
    /// An object of the store.
    Object(ObjectReader, Handle, Faults),
    /// What the snapshot before has, under another name or not found again.
    Kept(Arc<Indexed>, Box<Node>, Faults),
}

type Item = RusticResult<ReadSourceEntry<Opener>>;

/// Gives the entries, once.
pub(super) struct Source {
    entries: Mutex<Option<Receiver<Item>>>,
    counts: Arc<Mutex<Taken>>,
}

impl Source {
    pub(super) fn new(
        repository: Arc<Indexed>,
        tree: Option<TreeId>,
        changes: Vec<Change>,
        store: Store,
        runtime: Handle,
        faults: Faults,
    ) -> Source {
        let (entries, receiver) = sync_channel(WAITING_MAX);
        let counts = Arc::new(Mutex::new(Taken::default()));
        let root = Folder::of(changes);
        let mut stored = Vec::new();
        root.stored(&mut stored);
        let opened = open_ahead(stored, store, &runtime);
        let told = counts.clone();
        thread::spawn(move || {
            let mut walk = Walk {
                repository,
                entries,
                opened,
                early: HashMap::new(),
                runtime,
                faults: faults.clone(),
                taken: Taken::default(),
            };
            let mut path = Path::default();
            if let Err(stop) = walk.folder(&mut path, root, tree) {
                faults.note(stop.0);
            }
            *told.lock().unwrap_or_else(PoisonError::into_inner) = walk.taken;
        });
        Source { entries: Mutex::new(Some(receiver)), counts }
    }

    pub(super) fn counts(&self) -> Taken {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ReadSource for Source {
    type Open = Opener;
    type Iter = std::sync::mpsc::IntoIter<Item>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Self::Iter {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).take();
        entries.unwrap_or_else(|| sync_channel(0).1).into_iter()
    }
}

type Opened = (usize, Result<Option<ObjectReader>, StoreError>);

/// Opens objects ahead of the walk. None where the version is not those bytes any more.
fn open_ahead(
    stored: Vec<(usize, Change)>,
    store: Store,
    runtime: &Handle,
) -> mpsc::Receiver<Opened> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    runtime.spawn(async move {
        let open = |(number, change): (usize, Change)| {
            let store = store.clone();
            async move { (number, open(&store, &change).await) }
        };
        let mut opened =
            std::pin::pin!(futures::stream::iter(stored).map(open).buffered(OPENED_AT_ONCE));
        while let Some(next) = opened.next().await {
            if sender.send(next).await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn open(store: &Store, change: &Change) -> Result<Option<ObjectReader>, StoreError> {
    let Some((version, content_id)) = &change.stored else { return Ok(None) };
    match store.open_object(&change.bucket, &change.key, Some(version)).await {
        Ok(reader) => Ok((reader.info().content_id == *content_id).then_some(reader)),
        Err(
            StoreError::NotFound(_)
            | StoreError::NoSuchVersion(_)
            | StoreError::NoSuchBucket(_)
            | StoreError::DeleteMarker { .. },
        ) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Why the walk ended early.
struct Stop(String);

impl From<Box<RusticError>> for Stop {
    fn from(err: Box<RusticError>) -> Self {
        Stop(err.display_log())
    }
}

impl From<serde_json::Error> for Stop {
    fn from(err: serde_json::Error) -> Self {
        Stop(err.to_string())
    }
}

/// Where the walk is; folders are entered when the first thing in them is.
#[derive(Default)]
struct Path {
    names: Vec<String>,
    entered: usize,
}

impl Path {
    fn folder(&self) -> PathBuf {
        self.names.iter().collect()
    }
}

struct Walk {
    repository: Arc<Indexed>,
    entries: SyncSender<Item>,
    opened: mpsc::Receiver<Opened>,
    /// Opened before their turn.
    early: HashMap<usize, Result<Option<ObjectReader>, StoreError>>,
    runtime: Handle,
    faults: Faults,
    taken: Taken,
}

impl Walk {
    fn folder(
        &mut self,
        path: &mut Path,
        changes: Folder,
        tree: Option<TreeId>,
    ) -> Result<(), Stop> {
        let before = match tree {
            Some(tree) => self.repository.get_tree(&tree)?.nodes,
            None => Vec::new(),
        };
        for (name, step) in self.steps(before, changes) {
            match step {
                Step::Keep(node) => self.keep(path, node)?,
                Step::Put(number, change, before) => {
                    self.put(path, &name, number, &change, before)?;
                }
                Step::Enter(folder, tree) => {
                    path.names.push(name);
                    self.folder(path, folder, tree)?;
                    path.names.pop();
                    path.entered = path.entered.min(path.names.len());
                }
            }
        }
        Ok(())
    }

    /// What becomes of each name of a folder, in order.
    fn steps(&mut self, before: Vec<Node>, changes: Folder) -> BTreeMap<String, Step> {
        let mut nodes: BTreeMap<String, Node> =
            before.into_iter().map(|node| (node::name(&node), node)).collect();
        let mut steps = BTreeMap::new();
        for (name, changed) in changes.names {
            let beside = format!("{name}{BESIDE_FOLDER}");
            let folder_before = nodes.get(&name).filter(|node| node.is_dir());
            let subtree = folder_before.and_then(|node| node.subtree);
            let is_folder =
                subtree.is_some() || changed.folder.as_ref().is_some_and(Folder::stores);
            let plain = nodes.get(&name).is_some_and(|node| !node.is_dir());
            let object = if plain { nodes.remove(&name) } else { nodes.remove(&beside) };
            let as_file = if is_folder { beside } else { name.clone() };
            match (changed.object, object) {
                (Some((_, change)), Some(node)) if change.place < node.meta.inode => {
                    self.taken.skipped += 1;
                    steps.insert(as_file, Step::Keep(node));
                }
                (Some((number, change)), before) if change.stored.is_some() => {
                    steps.insert(as_file, Step::Put(number, change, before));
                }
                (Some(_), Some(_)) => self.taken.removed += 1,
                (Some(_), None) => self.taken.skipped += 1,
                (None, Some(node)) => {
                    steps.insert(as_file, Step::Keep(node));
                }
                (None, None) => {}
            }
            // Of a folder that is not there and gets nothing there is nothing to enter.
            if is_folder && let Some(folder) = changed.folder {
                nodes.remove(&name);
                steps.insert(name, Step::Enter(folder, subtree));
            }
        }
        steps.extend(nodes.into_iter().map(|(name, node)| (name, Step::Keep(node))));
        for (name, step) in &mut steps {
            // An object that made way for a folder.
            if let Step::Keep(node) = step
                && node::name(node) != *name
            {
                let renamed =
                    Node::new_node(name.as_ref(), node.node_type.clone(), Default::default());
                node.name = renamed.name;
            }
        }
        steps
    }

    fn keep(&mut self, path: &mut Path, node: Node) -> Result<(), Stop> {
        let (folder, is_dir) = (path.folder(), node.is_dir());
        let place = if is_dir { folder } else { folder.join(node::name(&node)) };
        let open = (!is_dir).then(|| {
            Opener::Kept(self.repository.clone(), Box::new(node.clone()), self.faults.clone())
        });
        self.enter(path)?;
        self.send(place, node, open)
    }

    fn put(
        &mut self,
        path: &mut Path,
        name: &str,
        number: usize,
        change: &Change,
        before: Option<Node>,
    ) -> Result<(), Stop> {
        let opened = self.opened(number)?;
        let reader = match opened {
            Ok(Some(reader)) => reader,
            Ok(None) => {
                self.taken.skipped += 1;
                return match before {
                    Some(node) => self.keep(path, node),
                    None => Ok(()),
                };
            }
            Err(err) => {
                let Change { bucket, key, .. } = change;
                return Err(Stop(format!("{key:?} in bucket {bucket:?} cannot be read: {err}")));
            }
        };
        let node = node::of_object(name, reader.info(), change.place)?;
        // The very content is there already: a crash came between the snapshot and its record.
        let content_id = &reader.info().content_id;
        if let Some(before) = before.filter(|before| node::name(before) == name)
            && node::kept(&before).is_some_and(|kept| kept.content_id == *content_id)
            && before.meta.extended_attributes == node.meta.extended_attributes
        {
            self.taken.skipped += 1;
            return self.keep(path, before);
        }
        self.taken.stored += 1;
        self.taken.bytes += reader.info().size;
        let place = path.folder().join(name);
        let open = Opener::Object(reader, self.runtime.clone(), self.faults.clone());
        self.enter(path)?;
        self.send(place, node, Some(open))
    }

    /// The object of that change, which is opened now or soon.
    fn opened(&mut self, number: usize) -> Result<Result<Option<ObjectReader>, StoreError>, Stop> {
        if let Some(opened) = self.early.remove(&number) {
            return Ok(opened);
        }
        while let Some((other, opened)) = self.opened.blocking_recv() {
            if other == number {
                return Ok(opened);
            }
            self.early.insert(other, opened);
        }
        Err(Stop("the server is stopping".to_owned()))
    }

    fn enter(&mut self, path: &mut Path) -> Result<(), Stop> {
        while let Some(name) = path.names.get(path.entered) {
            let node = node::of_folder(name);
            path.entered += 1;
            let place = path.names.iter().take(path.entered).collect();
            self.send(place, node, None)?;
        }
        Ok(())
    }

    fn send(&self, path: PathBuf, node: Node, open: Option<Opener>) -> Result<(), Stop> {
        let sent = self.entries.send(Ok(ReadSourceEntry { path, node, open }));
        sent.map_err(|_| Stop("the snapshot was given up".to_owned()))
    }
}

impl ReadSourceOpen for Opener {
    type Reader = Box<dyn Read + Send + 'static>;

    fn open(self) -> RusticResult<Self::Reader> {
        match self {
            Opener::Object(reader, runtime, faults) => Ok(Box::new(ObjectBytes {
                reader,
                runtime,
                faults,
                offset: 0,
                chunk: Bytes::new(),
            })),
            Opener::Kept(repository, node, faults) => {
                let opened = repository.open_file(&node).inspect_err(|err| {
                    faults.note(format!("{:?} is damaged: {}", node.name, err.display_log()));
                });
                let file = opened?;
                Ok(Box::new(KeptBytes { repository, file, name: node.name, faults, offset: 0 }))
            }
        }
    }
}

/// The bytes of an object.
struct ObjectBytes {
    reader: ObjectReader,
    runtime: Handle,
    faults: Faults,
    offset: u64,
    chunk: Bytes,
}

impl Read for ObjectBytes {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            let read = self.runtime.block_on(self.reader.read_at(self.offset, READ_BYTES));
            self.chunk = read.map_err(|err| {
                let info = self.reader.info();
                let what = format!("{:?} in bucket {:?}: {err}", info.key, info.bucket);
                self.faults.note(what.clone());
                io::Error::other(what)
            })?;
            self.offset += self.chunk.len() as u64;
        }
        let len = buf.len().min(self.chunk.len());
        self.chunk.copy_to_slice(buf.get_mut(..len).unwrap_or_default());
        Ok(len)
    }
}

/// The bytes of a file of the snapshot before.
struct KeptBytes {
    repository: Arc<Indexed>,
    file: rustic_core::vfs::OpenFile,
    name: String,
    faults: Faults,
    offset: usize,
}

impl Read for KeptBytes {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.repository.read_file_at(&self.file, self.offset, buf.len());
        let mut bytes = bytes.map_err(|err: Box<RusticError>| {
            let what = format!("{:?} is damaged: {}", self.name, err.display_log());
            self.faults.note(what.clone());
            io::Error::other(what)
        })?;
        let len = bytes.len().min(buf.len());
        bytes.copy_to_slice(buf.get_mut(..len).unwrap_or_default());
        self.offset += len;
        Ok(len)
    }
}
