//! Where a cache keeps things, as configured.

use crate::schema::{Size, StorePath, Table, section};

section! {
    /// A second tier on disk, behind memory.
    pub struct DiskConf {
        /// The folder; it is created if missing.
        pub path: StorePath;
        /// How much to keep on disk.
        pub size: Size, in "1MiB" to "1024TiB";
    }
    check Self::check;
}

impl DiskConf {
    fn check(&mut self, table: &mut Table<'_, '_, '_>) {
        if self.path.is_file() {
            let message = format!("{} is a file, not a folder", self.path.display());
            let hint = "use a folder; it is created if it does not exist";
            table.reader.problem_with(table.place_of("path"), message, hint);
        }
    }
}
