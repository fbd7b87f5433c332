//! Host side of `backlot:storage/antivirus@0.1.0`: what a virus scanner says of an object.

use backlot_bindings::backlot::storage::antivirus as wit;
use backlot_bindings::backlot::storage::objects::{Error, Pinned};

use super::{Answer, StorageView, convert_error};
use crate::Opinion;

/// What a function without a scanner is told.
const NO_SCANNER: &str = "no scanner is configured: set antivirus.address";

impl wit::Host for StorageView<'_> {
    async fn scan(&mut self, object: Pinned) -> Answer<wit::Opinion> {
        Ok(self.ask_scanner(object).await)
    }
}

impl StorageView<'_> {
    async fn ask_scanner(&mut self, object: Pinned) -> Result<wit::Opinion, Error> {
        let Some(scanner) = self.ctx.scanner.clone() else {
            return Err(self.ctx.denied("antivirus.scan needs the grant `antivirus`".to_owned()));
        };
        let Pinned { bucket, key, version, content_id } = object;
        let reader = self.ctx.opened(&bucket, &key, Some(&version)).await?;
        if reader.info().content_id != content_id {
            return Err(Error::NotFound);
        }
        let Some(scanner) = scanner else {
            return Ok(wit::Opinion::NotScanned(NO_SCANNER.to_owned()));
        };
        self.ctx.bytes_read += reader.info().size;
        Ok(match scanner.scan(&reader).await.map_err(convert_error)? {
            Opinion::Clean => wit::Opinion::Clean,
            Opinion::Infected(name) => wit::Opinion::Infected(name),
            Opinion::NotScanned(reason) => wit::Opinion::NotScanned(reason),
        })
    }
}
