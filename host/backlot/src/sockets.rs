//! Sockets that the service manager opened before it started us (`sd_listen_fds(3)`): what came in
//! meanwhile waits in their backlog.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

use crate::fault::Fault;

const HELP: &str =
    "give each .socket unit FileDescriptorName=s3, http or functions and one TCP ListenStream=";

/// Those that were handed over take the place of the configured addresses.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) s3: Option<TcpListener>,
    pub(crate) http: Option<TcpListener>,
    pub(crate) functions: Option<TcpListener>,
}

/// Takes them all. Forgets the variables that announce them, so it must be called while there is
/// one thread.
pub(crate) fn take() -> Result<Sockets, Fault> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut handed = ListenFd::from_env();
    let mut sockets = Sockets::default();
    let mut names = names.split(':');
    for index in 0..handed.len() {
        let name = names.next().unwrap_or_default();
        let place = match name {
            "s3" => &mut sockets.s3,
            "http" => &mut sockets.http,
            "functions" => &mut sockets.functions,
            _ => return Err(unusable(format!("there is none of the name {name:?}"))),
        };
        if place.is_some() {
            return Err(unusable(format!("there are two of the name {name:?}")));
        }
        *place = Some(listener(&mut handed, index, name)?);
    }
    Ok(sockets)
}

fn listener(handed: &mut ListenFd, index: usize, name: &str) -> Result<TcpListener, Fault> {
    let bad = |why: String| unusable(format!("{name:?}: {why}"));
    let listener = handed.take_tcp_listener(index).map_err(|err| bad(err.to_string()))?;
    let listener = listener.ok_or_else(|| bad("it is gone".to_owned()))?;
    match SockRef::from(&listener).is_listener() {
        Ok(true) => {}
        Ok(false) => return Err(bad("it does not listen".to_owned())),
        Err(err) => return Err(bad(err.to_string())),
    }
    // Asked of the service manager too, by most units; tokio needs it.
    listener.set_nonblocking(true).map_err(|err| bad(err.to_string()))?;
    Ok(listener)
}

fn unusable(why: String) -> Fault {
    Fault::new("E0305", format!("a socket of the service manager cannot be used: {why}"), HELP)
}
