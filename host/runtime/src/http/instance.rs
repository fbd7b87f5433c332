//! A guest instance that answers HTTP requests.

use std::future::{pending, poll_fn};
use std::task::{Context, Poll};

use backlot_backup::guest::BackupCtx;
use backlot_encoding::guest::EncodingCtx;
use backlot_storage::guest::StorageCtx;
use futures::channel::oneshot;
use wasmtime::component::Accessor;
use wasmtime::{AsContextMut as _, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy, Request, Response};

use super::context::RequestCtx;
use super::handler::HttpHandler;
use super::outbound::Outbound;
use super::output::Output;
use crate::context::Caller;
use crate::limiter::Limiter;
use crate::runtime::Shared;
use crate::state::{self, GuestState};

/// Where the guest's answer goes: its head, with a body that is fed while the guest runs.
pub(crate) type AnswerTo = oneshot::Sender<wasmtime::Result<Response>>;

/// A component instance with its store.
pub(crate) struct Instance {
    store: Store<GuestState>,
    proxy: Proxy,
    output: Output,
    /// Requests that it was given.
    served: u64,
}

/// A guest that runs.
#[derive(Clone, Copy)]
pub(crate) struct Guest<'a> {
    accessor: &'a Accessor<GuestState>,
    proxy: &'a Proxy,
}

impl<'a> Guest<'a> {
    /// Call its handler. What is given ends when the handler has, which may be before the end of
    /// the answer's body.
    ///
    /// # Errors
    /// When the call cannot be made.
    pub(crate) fn begin(
        self,
        request: Request,
        answer: AnswerTo,
    ) -> wasmtime::Result<impl Future<Output = wasmtime::Result<bool>> + 'a> {
        let prepared = self.accessor.with(|mut store| {
            let mut store = store.as_context_mut();
            store.data_mut().outbound.start_request();
            Prepared::new(store, self.proxy, request, GuestState::http, answer)
        })?;
        // Deadlines are kept by whoever polls the store: in here they would not be seen while the
        // guest computes (wasmtime#11869).
        Ok(prepared.run(self.accessor, pending()))
    }

    /// Ready when it has nothing more to do.
    pub(crate) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.accessor.poll_no_interesting_tasks(cx)
    }
}

impl Instance {
    /// A fresh instance.
    pub(crate) async fn start(shared: &Shared, handler: &HttpHandler) -> wasmtime::Result<Self> {
        let profile = &handler.profile;
        let output = Output::new(profile.clone());
        let env = profile.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let on_denied = &profile.on_denied;
        let state = GuestState {
            table: state::handles(&profile.limits),
            wasi: state::wasi_of_request(env, &output),
            limiter: Limiter::new(profile.limits.memory_bytes(), profile.limits.table_elements()),
            storage: StorageCtx::without_invocation(
                shared.store.clone(),
                profile.function.clone(),
                profile.storage.clone(),
                on_denied.clone(),
            )
            .with_scanner(profile.antivirus.then(|| shared.scanner.clone())),
            backup: BackupCtx::new(
                shared.backups.clone(),
                profile.backup.clone(),
                None,
                on_denied.clone(),
            ),
            encoding: if profile.encoding {
                EncodingCtx::granted(shared.encoder.clone())
            } else {
                EncodingCtx::denied(on_denied.clone())
            },
            http: state::http(),
            outbound: Outbound::new(
                profile.hosts.clone(),
                profile.limits.outbound_calls,
                on_denied.clone(),
            ),
            caller: Caller::Request(RequestCtx::new(profile.clone(), shared.ledger.clone())),
        };
        let mut store = state::store(&shared.http.engine, state, &profile.limits);
        let proxy = handler.pre.instantiate_async(&mut store).await?;
        Ok(Self { store, proxy, output, served: 0 })
    }

    /// Give it a request, and run it until it has nothing more to do: the answer is given while
    /// this runs.
    ///
    /// # Errors
    /// When the guest traps: the instance is not to be used again.
    pub(crate) async fn serve(
        &mut self,
        request: Request,
        answer: AnswerTo,
    ) -> wasmtime::Result<()> {
        if let Caller::Request(ctx) = &mut self.store.data_mut().caller
            && 0 < self.served
        {
            ctx.start_request();
        }
        self.served += 1;
        self.run(async |guest| {
            guest.begin(request, answer)?.await?;
            poll_fn(|cx| guest.poll_idle(cx)).await;
            Ok(())
        })
        .await
    }

    /// Run the guest while `work` goes on.
    ///
    /// # Errors
    /// When the guest traps, or `work` fails: the instance is not to be used again.
    pub(crate) async fn run(
        &mut self,
        work: impl AsyncFnOnce(Guest<'_>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<()> {
        self.store.set_epoch_deadline(1);
        let proxy = &self.proxy;
        let ran = self.store.run_concurrent(async |accessor| work(Guest { accessor, proxy }).await);
        let ran = ran.await;
        self.output.end_request();
        ran.flatten()
    }

    /// Requests that it was given.
    pub(crate) fn served(&self) -> u64 {
        self.served
    }

    /// Why memory was refused, if it was.
    pub(crate) fn refusal(&self) -> Option<String> {
        self.store.data().limiter.refusal()
    }
}
