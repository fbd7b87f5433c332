//! A guest instance that answers HTTP requests, one at a time.

use std::future::{pending, poll_fn};

use backlot_encoding::guest::EncodingCtx;
use backlot_storage::guest::StorageCtx;
use futures::channel::oneshot;
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

impl Instance {
    /// A fresh instance.
    pub(crate) async fn start(shared: &Shared, handler: &HttpHandler) -> wasmtime::Result<Self> {
        let profile = &handler.profile;
        let output = Output::new(profile.clone());
        let env = profile.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let on_denied = &profile.on_denied;
        let state = GuestState {
            table: state::handles(),
            wasi: state::wasi_of_request(env, &output),
            limiter: Limiter::new(profile.limits.memory_bytes()),
            storage: StorageCtx::without_invocation(
                shared.store.clone(),
                profile.function.clone(),
                profile.storage.clone(),
                on_denied.clone(),
            ),
            encoding: if profile.encoding {
                EncodingCtx::granted(shared.encoder.clone())
            } else {
                EncodingCtx::denied(on_denied.clone())
            },
            http: state::http(),
            outbound: Outbound::new(profile.hosts.clone(), on_denied.clone()),
            caller: Caller::Request(RequestCtx::new(profile.clone(), shared.ledger.clone())),
        };
        let mut store = Store::new(shared.http.engine.wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
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
        self.store.set_epoch_deadline(1);
        let proxy = &self.proxy;
        let ran = self
            .store
            .run_concurrent(async |accessor| {
                let prepared = accessor.with(|mut store| {
                    let store = store.as_context_mut();
                    Prepared::new(store, proxy, request, GuestState::http, answer)
                })?;
                // The deadline is kept by whoever polls this: from in here it would not be seen
                // while the guest computes (wasmtime#11869).
                prepared.run(accessor, pending()).await?;
                poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                wasmtime::error::Ok(())
            })
            .await;
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
