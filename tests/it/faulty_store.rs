//! A store between the lake and memory that counts operations and lets one of them go wrong, always
//! the same one in the same way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use datafusion::object_store::memory::InMemory;
use datafusion::object_store::path::Path;
use datafusion::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What happens to the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and nothing is done.
    Before,
    /// It is done and the answer is lost.
    LostAnswer,
    /// A rival is faster: where it puts a commit or a lease, that number is taken by another.
    Conflict,
    /// The process dies: it and all that follow fail.
    Kill,
}

impl Fault {
    /// What can happen to an operation. One that only reads leaves nothing behind: its answer lost
    /// is a failure, and a process that dies at it might have died at the write before.
    pub(crate) fn of(operation: Operation) -> &'static [Self] {
        match operation {
            Operation::Read => &[Self::Before],
            Operation::Write => &[Self::Before, Self::LostAnswer, Self::Kill],
            Operation::Contended => &[Self::Before, Self::LostAnswer, Self::Conflict, Self::Kill],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    /// A put that a rival can be faster with.
    Contended,
}

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<InMemory>,
    at: Option<(usize, Fault)>,
    operations: Mutex<Vec<Operation>>,
    dead: AtomicBool,
    injected: AtomicBool,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "FaultyStore({:?})", self.at)
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "faulty",
        source: "injected".into(),
    }
}

/// What a fault leaves of an operation.
#[derive(PartialEq, Eq)]
enum Step {
    Do,
    DoAndFail,
    Race,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<InMemory>, at: Option<(usize, Fault)>) -> Self {
        Self {
            inner,
            at,
            operations: Mutex::default(),
            dead: AtomicBool::new(false),
            injected: AtomicBool::new(false),
        }
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap().clone()
    }

    /// Whether the chosen operation came, and the fault applied to it.
    pub(crate) fn injected(&self) -> bool {
        self.injected.load(Ordering::SeqCst)
    }

    fn step(&self, operation: Operation) -> Result<Step> {
        let number = {
            let mut operations = self.operations.lock().unwrap();
            operations.push(operation);
            operations.len() - 1
        };
        if self.dead.load(Ordering::SeqCst) {
            return Err(broken());
        }
        let fault = match self.at {
            Some((at, fault)) if at == number && Fault::of(operation).contains(&fault) => fault,
            _ => return Ok(Step::Do),
        };
        self.injected.store(true, Ordering::SeqCst);
        match fault {
            Fault::Before => Err(broken()),
            Fault::LostAnswer => Ok(Step::DoAndFail),
            Fault::Conflict => Ok(Step::Race),
            Fault::Kill => {
                self.dead.store(true, Ordering::SeqCst);
                Err(broken())
            }
        }
    }

    /// What a rival would have put there: a commit that changes nothing, a lease given back.
    fn rival(location: &Path, payload: &PutPayload) -> Option<PutPayload> {
        let text = location.as_ref();
        if text.ends_with("/_delta_log/00000000000000000000.json") {
            // Whoever makes a table first makes it with its columns.
            return Some(payload.clone());
        }
        if text.contains("/_delta_log/") && location.extension() == Some("json") {
            let commit = r#"{"commitInfo":{"timestamp":1,"operation":"WRITE"}}"#;
            return Some(PutPayload::from_static(commit.as_bytes()));
        }
        if text.contains("leases/") {
            let bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
            let mut record: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
            record["holder"] = "rival".into();
            record["first"] = u64::MAX.into();
            record["released"] = true.into();
            return Some(PutPayload::from(record.to_string().into_bytes()));
        }
        None
    }
}

fn finish<T>(step: &Step, result: Result<T>) -> Result<T> {
    if *step == Step::DoAndFail {
        return Err(broken());
    }
    result
}

/// A stream that begins with an error where the operation failed.
fn listed(
    step: Result<Step>,
    inner: BoxStream<'static, Result<ObjectMeta>>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    match step {
        Ok(Step::DoAndFail) => inner
            .take(1)
            .chain(stream::once(async { Err(broken()) }))
            .boxed(),
        Ok(_) => inner,
        Err(error) => stream::once(async { Err(error) }).boxed(),
    }
}

impl ObjectStore for FaultyStore {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let rival = Self::rival(location, &payload);
            let creates = opts.mode == PutMode::Create;
            let contended = creates && rival.is_some();
            let step = self.step(if contended {
                Operation::Contended
            } else {
                Operation::Write
            })?;
            if let (Step::Race, Some(rival)) = (&step, rival) {
                self.inner.put(location, rival).await?;
            }
            let result = self.inner.put_opts(location, payload, opts).await;
            finish(&step, result)
        })
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        opts: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let step = self.step(Operation::Write)?;
            finish(&step, self.inner.put_multipart_opts(location, opts).await)
        })
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let step = self.step(Operation::Read)?;
            finish(&step, self.inner.get_opts(location, options).await)
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.step(Operation::Write) {
            Ok(Step::DoAndFail) => self
                .inner
                .delete_stream(locations)
                .map(|_| Err(broken()))
                .boxed(),
            Ok(_) => self.inner.delete_stream(locations),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        listed(self.step(Operation::Read), self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        listed(
            self.step(Operation::Read),
            self.inner.list_with_offset(prefix, offset),
        )
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let step = self.step(Operation::Read)?;
            finish(&step, self.inner.list_with_delimiter(prefix).await)
        })
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> Answer<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        Box::pin(async move {
            let step = self.step(Operation::Write)?;
            finish(&step, self.inner.copy_opts(from, to, options).await)
        })
    }
}

/// A store that overwrites what it is asked to create, as some that speak S3's protocol do.
#[derive(Debug)]
pub(crate) struct Careless(pub(crate) Arc<InMemory>);

impl fmt::Display for Careless {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Careless")
    }
}

impl ObjectStore for Careless {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        opts.mode = PutMode::Overwrite;
        self.0.put_opts(location, payload, opts)
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        opts: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.0.put_multipart_opts(location, opts)
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.0.get_opts(location, options)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.0.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> Answer<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        self.0.copy_opts(from, to, options)
    }
}
