//! Where the front doors are: an address of our own or a socket of the service manager, plain or
//! with a certificate.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use backlot_gateway::serve::Listener;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::certificates;
use crate::config;
use crate::fault::Fault;
use crate::node;

/// A front door that nobody serves yet.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    pub(crate) url: Url,
}

/// What clients are told.
#[derive(Clone, Copy)]
pub(crate) struct Url {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// Opens the one of this name (`s3`, `http`, `functions`): on the socket that was handed over, else
/// at the address. Its certificate is followed until `stop`.
pub(crate) async fn open(
    name: &str,
    handed: Option<std::net::TcpListener>,
    address: SocketAddr,
    tls: Option<&config::Tls>,
    stop: &CancellationToken,
) -> Result<Door, Fault> {
    let socket = match handed {
        Some(socket) => TcpListener::from_std(socket)
            .map_err(|err| node::internal("taking over a socket", &err))?,
        None => bind(address, name).await?,
    };
    let address =
        socket.local_addr().map_err(|err| node::internal("asking for an address", &err))?;
    let tls = certificates::follow(tls, stop)?;
    let url = Url { address, tls: tls.is_some() };
    Ok(Door { listener: Listener::new(socket, tls), url })
}

async fn bind(address: SocketAddr, name: &str) -> Result<TcpListener, Fault> {
    let choose = format!("choose another with --{name} ADDR (or {name}.address in backlot.toml)");
    TcpListener::bind(address).await.map_err(|err| match err.kind() {
        io::ErrorKind::AddrInUse => Fault::new(
            "E0301",
            format!("address {address} is in use by another process"),
            format!("{choose}; port 0 takes a free one"),
        ),
        _ => Fault::new("E0302", format!("address {address} cannot be listened on: {err}"), choose),
    })
}
