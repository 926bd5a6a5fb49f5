//! The terminal while `piton top` has it: another screen, without a cursor, on which keys come as they are pressed.
//!
//! It needs no crate for terminals: two settings and four sequences that every terminal of today knows. Ctrl-C comes as a
//! key, too, so that nothing ends before the terminal is given back.

use std::io::{self, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_TO_END_OF_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// How long a key is waited for, in tenths of a second.
const WAIT: u8 = 10;
const CTRL_C: u8 = 3;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
}

/// See the module. Dropping it gives the terminal back.
pub(super) struct Screen {
    before: Termios,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn open() -> io::Result<Screen> {
        let before = tcgetattr(io::stdin())?;
        let mut own = before.clone();
        own.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        own.special_codes[SpecialCodeIndex::VMIN] = 0;
        own.special_codes[SpecialCodeIndex::VTIME] = WAIT;
        tcsetattr(io::stdin(), OptionalActions::Now, &own)?;
        // From here on it is given back, whatever fails.
        let screen = Screen { before };
        write(ENTER)?;
        Ok(screen)
    }

    /// Returns how many columns and rows it has, if it says so.
    pub(super) fn size(&self) -> Option<(usize, usize)> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
    }

    /// Shows a text in place of the one before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn show(&self, text: &str) -> io::Result<()> {
        let lines: Vec<String> = text.lines().map(|line| format!("{line}{CLEAR_TO_END_OF_LINE}")).collect();
        write(&format!("{HOME}{}{CLEAR_BELOW}", lines.join("\r\n")))
    }

    /// Waits a second for a key.
    pub(super) fn key(&self) -> Option<Key> {
        let mut pressed = [0; 16];
        let len = io::stdin().read(&mut pressed).unwrap_or(0);
        meant(&pressed[..len])
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        write(LEAVE).ok();
        tcsetattr(io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn meant(pressed: &[u8]) -> Option<Key> {
    pressed.iter().any(|byte| matches!(byte, b'q' | b'Q' | &CTRL_C)).then_some(Key::Quit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_ctrl_c_are_enough() {
        for enough in [&b"q"[..], b"Q", b"\x03", b"xq"] {
            assert_eq!(meant(enough), Some(Key::Quit), "{enough:?}");
        }
        for other in [&b""[..], b"x", b"\x1b[A"] {
            assert_eq!(meant(other), None, "{other:?}");
        }
    }
}
