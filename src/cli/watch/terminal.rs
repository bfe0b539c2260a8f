//! The terminal of the live view: its alternate screen, keys one by one, its size, and what it was before.
//!
//! It is put back however the view ends: by a key, a signal, an error or a panic.

use std::{
    io::{self, Read, Write},
    panic,
    sync::{
        Mutex, PoisonError,
        mpsc::{Sender, sync_channel},
    },
    thread,
};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::signal::unix::{SignalKind, signal};

use super::event::Event;

/// The terminal while the view is shown.
pub(super) struct Terminal(());

/// What keys did before, while they do something else.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    keys: Option<Termios>,
}

impl Terminal {
    /// Takes the terminal; keys, sizes and signals are sent from here on.
    pub(super) fn open(sender: &Sender<Event>) -> io::Result<Self> {
        // Before anything is changed, so that no signal leaves it so.
        signals(sender.clone())?;
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // What it says would be lost with the alternate screen.
            restore();
            hook(info);
        }));
        let keys = isatty(io::stdin()).then(|| tcgetattr(io::stdin())).transpose()?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Before { keys: keys.clone() });
        let terminal = Self(());
        if let Some(mut keys_only) = keys {
            // Line editing, echo and ctrl-Z would fight with the view; ctrl-C comes as a key.
            keys_only
                .local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
            keys_only.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys_only.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &keys_only)?;
            read_keys(sender.clone());
        }
        // The alternate screen, and no cursor.
        write("\x1b[?1049h\x1b[?25l\x1b[2J")?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let Self(()) = self;
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            Ok(_) | Err(_) => (80, 24),
        }
    }

    /// Draws lines that fit, over those that are there.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let Self(()) = self;
        let mut text = String::from("\x1b[H");
        for line in lines {
            // Erased before, and not behind it: at the end of a full line that would be its last character.
            text += &format!("\x1b[2K{line}\r\n");
        }
        match lines.len() < self.size().1 {
            // Down to the bottom nothing is left of a frame before.
            true => text += "\x1b[J",
            // After the last line of the window the next one would scroll it.
            false => text.truncate(text.len().saturating_sub(2)),
        }
        write(&text)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether a key ends the view: `q`, ctrl-C, ctrl-D.
pub(super) fn ends(key: u8) -> bool {
    matches!(key, b'q' | b'Q' | 3 | 4)
}

/// Puts the terminal back, once.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(before) = before else { return };
    // If the terminal is gone there is nothing to put back.
    let _ = write("\x1b[?25h\x1b[?1049l");
    if let Some(keys) = before.keys {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &keys);
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn read_keys(sender: Sender<Event>) {
    thread::spawn(move || {
        let mut key = [0];
        while io::stdin().lock().read_exact(&mut key).is_ok() {
            let [key] = key;
            if sender.send(Event::Key(key)).is_err() {
                return;
            }
        }
        // The terminal is gone.
        let _ = sender.send(Event::Quit);
    });
}

/// Tells of signals from here on; without this they would end the program with the terminal as it is.
fn signals(sender: Sender<Event>) -> io::Result<()> {
    let (ready, is_ready) = sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let result = runtime.map(|runtime| {
            runtime.block_on(async {
                let mut resized = signal(SignalKind::window_change())?;
                let mut ended = [
                    signal(SignalKind::terminate())?,
                    signal(SignalKind::interrupt())?,
                    signal(SignalKind::hangup())?,
                ];
                let _ = ready.send(Ok(()));
                let [terminate, interrupt, hang_up] = &mut ended;
                loop {
                    let event = tokio::select! {
                        _ = resized.recv() => Event::Resized,
                        _ = terminate.recv() => Event::Quit,
                        _ = interrupt.recv() => Event::Quit,
                        _ = hang_up.recv() => Event::Quit,
                    };
                    if sender.send(event).is_err() {
                        return Ok(());
                    }
                }
            })
        });
        if let Ok(Err(error)) | Err(error) = result {
            let _ = ready.send(Err(error));
        }
    });
    is_ready.recv().map_err(io::Error::other)?
}
