//! A file system of its own, whose power can be cut: ext4 in a file, on a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::run;

/// Size of the file system, in bytes.
const BYTES: u64 = 512 << 20;

/// Shuts ext4 down without flushing its log: what no fsync has put on the disk is gone, as when the
/// power fails. `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH` (Linux, fs/ext4/ext4.h).
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// A mounted file system. Unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    image: PathBuf,
    place: PathBuf,
}

impl Mount {
    /// Make one in a file in `folder`, and mount it at `place`.
    ///
    /// # Errors
    /// Where that needs rights or devices that are not there: the error says which.
    pub fn new(folder: &Path, place: &Path) -> anyhow::Result<Self> {
        let image = folder.join("disk.img");
        File::create(&image)?.set_len(BYTES)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        std::fs::create_dir_all(place)?;
        let mount = Self { image, place: place.to_owned() };
        mount.mount()?;
        Ok(mount)
    }

    fn mount(&self) -> anyhow::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.place))?;
        Ok(())
    }

    /// Cut the power. Whoever has files open there gets errors from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self) -> anyhow::Result<()> {
        run(Command::new("python3").args(["-c", CUT]).arg(&self.place)).context("cutting")?;
        Ok(())
    }

    /// As when the power is back: nobody may have files open there any more.
    ///
    /// # Errors
    /// When it is in use, or does not mount again.
    pub fn mount_again(&self) -> anyhow::Result<()> {
        run(Command::new("umount").arg(&self.place))?;
        self.mount()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Also where a test failed and a server still has files open: it goes when they are closed.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.place).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.place.display());
        }
    }
}
