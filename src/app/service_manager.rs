//! What the service manager is told of this process, in the protocol of `sd_notify(3)`: systemd's `Type=notify`, and whatever else
//! sets `NOTIFY_SOCKET`. Without that variable nobody is told anything.

use std::env;
use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// What the end takes beyond the drain.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// How much longer the start takes for as long as there is no certificate, and how often that is said.
const START_MARGIN: Duration = Duration::from_secs(30);
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// The socket on which the service manager listens, and what it expects of us.
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Watchdog>,
    /// The start is over, and that was told.
    is_started: bool,
    /// When it was last told that the start goes on.
    said_waiting: Option<Instant>,
    has_failed: bool,
}

/// A sign of life for `WatchdogSec=`.
struct Watchdog {
    interval: Duration,
    last: Instant,
}

/// What a service manager hears of.
pub(super) enum Notice {
    /// Everything named in the configuration is served.
    Ready,
    /// There is no certificate yet, so that nothing is served, and the start takes that much longer.
    Waiting(Duration),
    /// The files are read again. [`Notice::Reloaded`] has to follow.
    Reloading,
    /// The reload is over: taken up, or not, for a reason.
    Reloaded(Result<(), String>),
    /// The end has begun, and takes no longer than that.
    Stopping(Duration),
    Alive,
}

impl ServiceManager {
    /// Who started this process, as far as the environment tells: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(super) fn from_environment() -> Self {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()).and_then(|name| {
            connect(&name)
                .inspect_err(|error| {
                    warn!(socket = %name.display(), %error, "the service manager named in NOTIFY_SOCKET cannot be told anything");
                })
                .ok()
        });
        let watchdog = Watchdog::wanted(|name| env::var(name).ok());
        let watchdog = watchdog.filter(|_| socket.is_some());
        Self { watchdog, socket, is_started: false, said_waiting: None, has_failed: false }
    }

    /// Tells that the start is over, once it is; until then, now and then, that it goes on. To be called again and again.
    pub(super) fn tell_start(&mut self, is_served: bool) {
        if self.is_started {
            return;
        }
        if is_served {
            self.is_started = true;
            self.tell(&Notice::Ready);
        } else if self.said_waiting.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            self.said_waiting = Some(Instant::now());
            self.tell(&Notice::Waiting(START_MARGIN));
        }
    }

    /// Whether the start is over: a reload is told after that alone.
    pub(super) fn is_started(&self) -> bool {
        self.is_started
    }

    /// Tells what there is to tell. A service manager that does not listen holds nothing up.
    pub(super) fn tell(&mut self, notice: &Notice) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(notice.to_string().as_bytes())
            && !self.has_failed
        {
            self.has_failed = true;
            warn!(%error, "the service manager does not take what it is told");
        }
    }

    /// The longest time between two calls of [`ServiceManager::keep_alive`]; none where nobody waits for them.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(|watchdog| watchdog.interval)
    }

    /// Gives a sign of life where one is due.
    pub(super) fn keep_alive(&mut self) {
        if self.watchdog.as_mut().is_some_and(Watchdog::is_due) {
            self.tell(&Notice::Alive);
        }
    }
}

/// A path, or a name in the abstract namespace, which begins with `@`.
fn connect(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A full queue must not stop the task that ends connections.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Watchdog {
    /// The sign of life that the environment asks of this process.
    fn wanted(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let timeout = variable("WATCHDOG_USEC")?.parse().ok().filter(|timeout| *timeout > 0)?;
        let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        // A third of the timeout: one that comes late is still in time.
        is_ours.then(|| Self { interval: Duration::from_micros(timeout) / 3, last: Instant::now() })
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now.duration_since(self.last) >= self.interval;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

impl Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("READY=1\nSTATUS=serving"),
            Self::Waiting(longer) => {
                write!(f, "STATUS=waiting for the first certificate\nEXTEND_TIMEOUT_USEC={}", longer.as_micros())
            }
            Self::Reloading => {
                let now = clock_gettime(ClockId::Monotonic);
                write!(f, "RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000)
            }
            Self::Reloaded(Ok(())) => Self::Ready.fmt(f),
            Self::Reloaded(Err(error)) => {
                let reason = error.replace('\n', "; ");
                write!(f, "READY=1\nSTATUS=serving what ran before; the change is not taken up: {reason}")
            }
            // What is cut off at the end of the drain is given a moment more.
            Self::Stopping(drain) => {
                write!(f, "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={}", (*drain + DRAIN_MARGIN).as_micros())
            }
            Self::Alive => f.write_str("WATCHDOG=1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(variables: &[(&str, &str)]) -> Option<Duration> {
        let of =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        Watchdog::wanted(of).map(|watchdog| watchdog.interval)
    }

    #[test]
    fn a_sign_of_life_is_given_three_times_within_the_timeout_by_the_process_that_is_watched() {
        let own = std::process::id().to_string();
        assert_eq!(wanted(&[]), None);
        assert_eq!(wanted(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(10)));
        assert_eq!(wanted(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", &own)]), Some(Duration::from_secs(1)));
        assert_eq!(wanted(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")]), None);
        for unusable in ["", "0", "-1", "soon"] {
            assert_eq!(wanted(&[("WATCHDOG_USEC", unusable)]), None, "{unusable}");
        }
    }
}
