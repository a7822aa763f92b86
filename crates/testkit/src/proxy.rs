//! A TCP proxy between a daemon and its broker that does what networks do: it holds bytes back, slows them down,
//! resets connections, and closes one side without telling the other.
//!
//! ```no_run
//! # async fn example(broker: aegir_testkit::Broker) -> anyhow::Result<()> {
//! use aegir_testkit::proxy::{Mode, Proxy, Side, Way};
//!
//! let proxy = Proxy::start(broker.url())?;
//! let url = proxy.url(); // for a daemon's `broker.url`
//! proxy.set(Mode::Stall(Way::FromBroker)); // at once, for all connections and every new one
//! proxy.set_where("(consume)", Mode::HeartbeatsOnly); // for those that introduced themselves like this
//! proxy.set(Mode::Pass);
//! proxy.reset();
//! proxy.half_open(Side::Broker);
//! # Ok(())
//! # }
//! ```
//!
//! It runs in a thread of its own, so that a test that blocks does not hold up the network. Dropping it closes every
//! connection.

mod connection;
mod forward;
mod frames;
mod mode;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::port::free_port;
use connection::{Cut, ProxiedConnection};
use forward::{forward, refuse};
pub use mode::{Direction, Mode, Side};

/// A proxy in front of one broker.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    shared: Arc<SharedProxy>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What tests and the proxy's thread both see.
#[derive(Debug)]
pub(crate) struct SharedProxy {
    broker: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// For connections to come.
    mode: Mode,
    open: Vec<Arc<ProxiedConnection>>,
}

impl Proxy {
    /// Starts one in front of the broker that this AMQP URL names.
    ///
    /// # Errors
    ///
    /// If the URL names no host and port, or there is no free port.
    pub fn start(broker_url: &str) -> anyhow::Result<Self> {
        let (before, address, after) = parts(broker_url)?;
        let broker = address.to_socket_addrs().with_context(|| format!("{address} is no address"))?.next();
        let broker = broker.with_context(|| format!("{address} has no address"))?;
        let port = free_port()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("cannot listen")?;
        listener.set_nonblocking(true).context("cannot listen")?;
        let url = format!("{before}127.0.0.1:{port}{after}");
        let shared = Arc::new(SharedProxy { broker, state: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let serve = serve(listener, Arc::clone(&shared), stopped);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("fault proxy".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                eprintln!("the fault proxy has ended: {error}");
            }
        })?;
        Ok(Self { url, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The broker's URL, credentials and all, with this proxy's address in place of the broker's.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes the mode of every connection, and of those to come.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.state();
        state.mode = mode;
        for carried in &state.open {
            carried.set(mode);
        }
    }

    /// Changes the mode of the open connections whose first bytes hold this text, and says how many there are. A
    /// daemon names its connections: `relayd main (consume)`. Those to come follow [`set`](Self::set).
    pub fn set_where(&self, opening: &str, mode: Mode) -> usize {
        let state = self.shared.state();
        let matching = state.open.iter().filter(|carried| carried.opened_with(opening.as_bytes()));
        matching.inspect(|carried| carried.set(mode)).count()
    }

    /// Resets every open connection, on both sides, and says how many there were. The mode stays.
    pub fn reset(&self) -> usize {
        self.cut(Cut::Reset)
    }

    /// Closes one side of every open connection and does not tell the other, and says how many there were. What the
    /// other side sends from then on is taken and forgotten. The mode stays.
    pub fn half_open(&self, closed: Side) -> usize {
        self.cut(Cut::HalfOpen { closed })
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.state().open.len()
    }

    fn cut(&self, cut: Cut) -> usize {
        let state = self.shared.state();
        for carried in &state.open {
            carried.cut.send_replace(Some(cut));
        }
        state.open.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The thread may have ended with an error.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl SharedProxy {
    fn state(&self) -> MutexGuard<'_, State> {
        // A list and a word: they are whole at every point where a panic could happen.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a new connection; `None` when it is to be refused.
    fn admit(&self) -> Option<Arc<ProxiedConnection>> {
        let mut state = self.state();
        if state.mode == Mode::Refuse {
            return None;
        }
        let carried = Arc::new(ProxiedConnection::new(state.mode));
        state.open.push(Arc::clone(&carried));
        Some(carried)
    }

    fn dismiss(&self, carried: &Arc<ProxiedConnection>) {
        self.state().open.retain(|open| !Arc::ptr_eq(open, carried));
    }
}

async fn serve(
    listener: TcpListener,
    shared: Arc<SharedProxy>,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                // Too many open files, perhaps; the daemon tries again.
                let Ok((daemon, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let Some(carried) = shared.admit() else { return refuse(daemon) };
                    forward(daemon, shared.broker, &carried).await;
                    shared.dismiss(&carried);
                });
            }
        }
    }
}

/// What stands before the address in a URL, the address, and what stands behind it.
fn parts(url: &str) -> anyhow::Result<(&str, &str, &str)> {
    let start = url.rfind('@').or_else(|| url.find("://").map(|at| at + 2)).map_or(0, |at| at + 1);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let address = &url[start..end];
    if !address.contains(':') {
        bail!("{address:?} names no port");
    }
    Ok((&url[..start], address, &url[end..]))
}

#[cfg(test)]
mod tests;
