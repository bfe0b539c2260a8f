//! A timer by the clock that goes on while the machine sleeps, exact to microseconds.
//!
//! The event loop's own timers count milliseconds by a clock that stands still meanwhile: two routers whose priorities
//! differ by one are 390 µs apart.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::boot_time::BootTime;
use crate::net::descriptors::register;

/// A timer that one task waits for.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// A timer that is not set, on this thread's event loop.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self { timer: register(timerfd_create(TimerfdClockId::Boottime, flags)?)? })
    }

    /// Waits until `deadline`; for ever without one. A deadline that is over is waited for a moment.
    pub async fn until(&self, deadline: Option<BootTime>) {
        let Some(deadline) = deadline else { return std::future::pending().await };
        let at = Duration::from_micros(deadline.0.max(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(at.subsec_nanos()),
        };
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let set = Itimerspec { it_interval: never, it_value };
        // It fails for times that are none, which these are not.
        let _ = timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &set);
        loop {
            let Ok(mut ready) = self.timer.readable().await else { return };
            // The timer was set anew since the last wait: what was ready then is not now.
            let mut expirations = [0_u8; 8];
            match rustix::io::read(self.timer.get_ref(), &mut expirations) {
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Ok(_) | Err(_) => return ready.clear_ready(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::LocalRuntime;

    use super::*;

    #[test]
    fn alarm_is_exact_and_can_be_set_anew() {
        LocalRuntime::new().unwrap().block_on(async {
            let alarm = Alarm::new().unwrap();
            let begun = BootTime::now();
            alarm.until(Some(begun.plus(Duration::from_micros(700)))).await;
            assert!(BootTime::now().since(begun) >= Duration::from_micros(700));
            alarm.until(Some(begun)).await;
            let hour = alarm.until(Some(begun.plus(Duration::from_secs(3600))));
            assert!(tokio::time::timeout(Duration::from_millis(5), hour).await.is_err());
            alarm.until(Some(BootTime::now().plus(Duration::from_millis(1)))).await;
        });
    }
}
