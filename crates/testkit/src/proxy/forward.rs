//! One connection, from its start to its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::connection::{Cut, ProxiedConnection};
use super::frames::Frames;
use super::mode::{Direction, Mode, Side};

/// How many bytes are carried in one go.
const PIECE: usize = 64 * 1024;
/// How often a throttled connection gets its share.
const SHARES: u32 = 20;

/// Carries bytes both ways until both sides have said all, one fails, or it is cut.
pub(crate) async fn forward(mut daemon: TcpStream, broker: SocketAddr, carried: &ProxiedConnection) {
    let Ok(mut broker) = TcpStream::connect(broker).await else { return refuse(daemon) };
    // Bytes are to go as they come. Where that can't be set they go a little later.
    let _ = (daemon.set_nodelay(true), broker.set_nodelay(true));
    let mut cut = carried.cut.subscribe();
    let (mut from_daemon, mut to_daemon) = daemon.split();
    let (mut from_broker, mut to_broker) = broker.split();
    let up = up(&mut from_daemon, &mut to_broker, carried);
    let down = down(&mut from_broker, &mut to_daemon, carried.mode.subscribe());
    let end = tokio::select! {
        cut = cut.wait_for(Option::is_some) => cut.ok().and_then(|cut| *cut),
        carried = async { tokio::try_join!(up, down) } => carried.err().map(|_| Cut::Reset),
    };
    match end {
        None => {}
        Some(Cut::Reset) => {
            refuse(daemon);
            refuse(broker);
        }
        Some(Cut::HalfOpen { closed }) => {
            let left = match closed {
                Side::Broker => {
                    drop(broker);
                    daemon
                }
                Side::Daemon => {
                    drop(daemon);
                    broker
                }
            };
            forget(left, cut).await;
        }
    }
}

/// Ends a connection as a host does that knows nothing of it.
pub(crate) fn refuse(stream: TcpStream) {
    // Where this can't be set it ends in order.
    let _ = stream.set_zero_linger();
}

/// Takes what comes and does nothing with it, until the other side ends or the connection is reset.
async fn forget(mut left: TcpStream, mut cut: watch::Receiver<Option<Cut>>) {
    let mut buffer = vec![0; PIECE];
    let reading = async { while left.read(&mut buffer).await.is_ok_and(|length| length > 0) {} };
    let reset = cut.wait_for(|cut| matches!(cut, Some(Cut::Reset)));
    let reset = tokio::select! {
        () = reading => false,
        reset = reset => reset.is_ok(),
    };
    if reset {
        refuse(left);
    }
}

async fn up(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    carried: &ProxiedConnection,
) -> io::Result<()> {
    let mut mode = carried.mode.subscribe();
    let mut buffer = vec![0; PIECE];
    loop {
        let room = share(*mode.borrow());
        let length = from.read(&mut buffer[..room]).await?;
        carried.said(&buffer[..length]);
        let now = passes(&mut mode, Direction::ToBroker).await;
        if length == 0 {
            return to.shutdown().await;
        }
        pace(now, length).await;
        to.write_all(&buffer[..length]).await?;
    }
}

async fn down(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut frames = Frames::default();
    loop {
        let room = share(*mode.borrow_and_update());
        let length = tokio::select! {
            length = from.read(&mut buffer[..room]) => Some(length?),
            changed = mode.changed() => {
                // The proxy keeps the sender for as long as this runs.
                changed.map_err(io::Error::other)?;
                None
            }
        };
        frames.push(&buffer[..length.unwrap_or(0)]);
        let now = passes(&mut mode, Direction::FromBroker).await;
        let out = frames.pull(now == Mode::HeartbeatsOnly);
        pace(now, out.len()).await;
        to.write_all(&out).await?;
        if length == Some(0) {
            return to.shutdown().await;
        }
    }
}

/// Waits until bytes may go this way, and gives the mode that lets them.
async fn passes(mode: &mut watch::Receiver<Mode>, way: Direction) -> Mode {
    let lets =
        |mode: &Mode| !matches!(mode, Mode::Stall(stalled) if *stalled == way || *stalled == Direction::Both);
    mode.wait_for(lets).await.map_or(Mode::Pass, |mode| *mode)
}

/// How much is read at once.
fn share(mode: Mode) -> usize {
    match mode {
        Mode::Throttle { bytes_per_second } => (bytes_per_second / SHARES).max(1) as usize,
        Mode::Pass | Mode::Stall(_) | Mode::HeartbeatsOnly | Mode::Refuse => PIECE,
    }
    .min(PIECE)
}

/// Waits as long as these bytes should take.
async fn pace(mode: Mode, length: usize) {
    if let Mode::Throttle { bytes_per_second } = mode {
        let seconds = length as f64 / f64::from(bytes_per_second.max(1));
        sleep(Duration::from_secs_f64(seconds)).await;
    }
}
