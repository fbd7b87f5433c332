//! Host side of `backlot:encoding/encoder@0.1.0`. The guest decides what to encode; this module
//! decides whether it may. Nothing that the guest sends is trusted: settings and frames are checked
//! by the domain before anything is made of them.

use std::sync::Arc;
use std::time::Duration;

use backlot_bindings::backlot::encoding::encoder as wit;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::error::{EncodeError, at_most};
use crate::{Chroma, Colour, CpuAccount, Encoder, Frame, Picture, Rung, Session, Settings};

/// Sessions that one guest may have open: its own and one for a second look.
pub const GUEST_SESSIONS_MAX: usize = 2;

/// Is told of each call that was denied, in words.
pub type OnDenied = Arc<dyn Fn(&str) + Send + Sync>;

/// The encoding capability of one guest instance.
pub struct EncodingCtx {
    encoder: Result<Encoder, OnDenied>,
    account: CpuAccount,
    open_sessions: usize,
}

impl EncodingCtx {
    /// For a guest with the grant `encoding`.
    pub fn granted(encoder: Encoder) -> EncodingCtx {
        EncodingCtx { encoder: Ok(encoder), account: CpuAccount::default(), open_sessions: 0 }
    }

    /// For a guest without it: `open` answers `denied`.
    pub fn denied(on_denied: OnDenied) -> EncodingCtx {
        EncodingCtx { encoder: Err(on_denied), account: CpuAccount::default(), open_sessions: 0 }
    }

    /// The account that all CPU time of this guest's sessions goes to; it also counts the step
    /// that was being done when the guest ended.
    pub fn account(&self) -> &CpuAccount {
        &self.account
    }

    /// CPU time of this guest's encoding so far.
    pub fn cpu_time(&self) -> Duration {
        self.account.total()
    }
}

/// What a host call sees of the guest's store.
pub struct EncodingView<'a> {
    /// The guest's resources.
    pub table: &'a mut ResourceTable,
    /// The guest's capability.
    pub ctx: &'a mut EncodingCtx,
}

/// Names [`EncodingView`] to the linker.
pub struct Encoding;

impl HasData for Encoding {
    type Data<'a> = EncodingView<'a>;
}

/// Add `backlot:encoding/encoder@0.1.0` to a linker.
///
/// # Errors
/// If it is there already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> EncodingView<'_>,
) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, Encoding>(linker, view)
}

impl EncodingView<'_> {
    fn session(&self, handle: &Resource<wit::Session>) -> wasmtime::Result<&Session> {
        let handle = Resource::<Session>::new_borrow(handle.rep());
        Ok(self.table.get(&handle)?)
    }
}

impl wit::Host for EncodingView<'_> {
    async fn open(
        &mut self,
        settings: wit::Settings,
    ) -> wasmtime::Result<Result<Resource<wit::Session>, wit::Error>> {
        let encoder = match &self.ctx.encoder {
            Ok(encoder) => encoder.clone(),
            Err(on_denied) => {
                let text = "encoder.open needs the grant `encoding`";
                on_denied(text);
                return Ok(Err(wit::Error::Denied(text.to_owned())));
            }
        };
        let open = self.ctx.open_sessions as u64;
        if let Err(error) = at_most("sessions of a guest", open + 1, GUEST_SESSIONS_MAX as u64) {
            return Ok(Err(error.into()));
        }
        let settings = Settings::from(settings);
        let opened = if open == 0 {
            encoder.open_for(settings, &self.ctx.account).await
        } else {
            encoder.try_open_for(settings, &self.ctx.account)
        };
        match opened {
            Ok(session) => {
                let handle = self.table.push(session)?;
                self.ctx.open_sessions += 1;
                Ok(Ok(Resource::new_own(handle.rep())))
            }
            Err(error) => Ok(Err(error.into())),
        }
    }

    async fn version(&mut self) -> wasmtime::Result<String> {
        Ok(Encoder::version().to_owned())
    }
}

impl wit::HostSession for EncodingView<'_> {
    async fn config(
        &mut self,
        session: Resource<wit::Session>,
        rung: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::Error>> {
        Ok(self.session(&session)?.config(rung).map(<[u8]>::to_vec).map_err(wit::Error::from))
    }

    async fn push(
        &mut self,
        session: Resource<wit::Session>,
        frame: wit::Frame,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        let wit::Frame { y, u, v } = frame;
        Ok(self.session(&session)?.push(Frame { y, u, v }).await.map_err(wit::Error::from))
    }

    async fn finish(
        &mut self,
        session: Resource<wit::Session>,
    ) -> wasmtime::Result<Result<(), wit::Error>> {
        Ok(self.session(&session)?.finish().map_err(wit::Error::from))
    }

    async fn packets(
        &mut self,
        session: Resource<wit::Session>,
    ) -> wasmtime::Result<Result<Vec<wit::Packet>, wit::Error>> {
        let packets = self.session(&session)?.packets().await;
        let convert = |packet: crate::Packet| {
            let crate::Packet { rung, frame, key, data } = packet;
            wit::Packet { rung, frame, key, data }
        };
        Ok(packets
            .map(|packets| packets.into_iter().map(convert).collect())
            .map_err(wit::Error::from))
    }

    async fn drop(&mut self, session: Resource<wit::Session>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Session>::new_own(session.rep()))?;
        self.ctx.open_sessions = self.ctx.open_sessions.saturating_sub(1);
        Ok(())
    }
}

impl From<EncodeError> for wit::Error {
    fn from(error: EncodeError) -> wit::Error {
        match error {
            EncodeError::OverLimit { .. } => wit::Error::OverLimit(error.to_string()),
            EncodeError::Invalid { .. } => wit::Error::Invalid(error.to_string()),
            EncodeError::Failed(_) => wit::Error::Failed(error.to_string()),
        }
    }
}

impl From<wit::Settings> for Settings {
    fn from(settings: wit::Settings) -> Settings {
        let wit::Picture { width_px, height_px, bit_depth, chroma } = settings.picture;
        let chroma = match chroma {
            wit::Chroma::Yuv420 => Chroma::Yuv420,
            wit::Chroma::Yuv422 => Chroma::Yuv422,
            wit::Chroma::Yuv444 => Chroma::Yuv444,
        };
        let wit::Colour { primaries, transfer, matrix, full_range } = settings.colour;
        let rung = |rung: wit::Rung| {
            let wit::Rung { name, width_px, height_px, quantizer } = rung;
            Rung { name, width_px, height_px, quantizer }
        };
        Settings {
            picture: Picture { width_px, height_px, bit_depth, chroma },
            colour: Colour { primaries, transfer, matrix, full_range },
            frame_rate_num: settings.frame_rate_num,
            frame_rate_den: settings.frame_rate_den,
            speed: settings.speed,
            gop_frames: settings.gop_frames,
            rungs: settings.rungs.into_iter().map(rung).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
