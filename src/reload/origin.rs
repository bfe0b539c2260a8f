//! How the program was started, which an upgrade does again.

use std::{env, ffi::OsString, path::PathBuf};

/// How this program was started, so that it can be started again.
#[derive(Clone, Debug)]
pub struct Origin {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Origin {
    /// The program that this process runs; to be asked at its start, since the file may be replaced later, and
    /// `/proc/self/exe` then says `(deleted)`. A path with symbolic links stays as it is: after an upgrade
    /// they may lead elsewhere. `None` when the file cannot be found.
    pub fn of_process() -> Option<Self> {
        let mut arguments = env::args_os();
        let called = PathBuf::from(arguments.next()?);
        let program = match called.components().count() {
            1 => env::split_paths(&env::var_os("PATH")?)
                .map(|folder| folder.join(&called))
                .find(|it| it.is_file()),
            _ => std::path::absolute(&called).ok().filter(|it| it.is_file()),
        };
        Some(Self { program: program.or_else(|| env::current_exe().ok())?, arguments: arguments.collect() })
    }
}
