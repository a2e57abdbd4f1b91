//! The certificate that both planes show: made at the first start, kept for all later ones, so that clients may pin it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kvdepot_proto::data_dir::CERTIFICATE;
use kvdepot_proto::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Key of the certificate in PEM, inside the data directory; for its owner only.
const KEY: &str = "tls/key.pem";
const OWNER_ONLY: u32 = 0o600;
const EVERYONE_READS: u32 = 0o644;

/// A certificate with its key.
pub(crate) struct Certificate {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// Reads the certificate of a data directory; makes one for `names`, host names and IP addresses, when there is
    /// none.
    ///
    /// # Errors
    /// `Invalid` when the files are not PEM or a name is none, `Unavailable` when the system refuses.
    pub(crate) fn of_data_dir(data_dir: &Path, names: Vec<String>) -> Result<Self> {
        let (certificate_path, key_path) = (data_dir.join(CERTIFICATE), data_dir.join(KEY));
        // The certificate is written last: without it, the key is of a start that did not get that far.
        if !certificate_path.exists() {
            make(&certificate_path, &key_path, names)?;
        }
        let (certificate_pem, key_pem) = (read(&certificate_path)?, read(&key_path)?);
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| invalid(&certificate_path, &error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| invalid(&key_path, &error.to_string()))?;
        Ok(Self { certificate_pem, key_pem, certificate, key })
    }
}

/// Names under which this machine is reached: its own, the loopback's, and those of `listen_hosts`.
pub(crate) fn names(listen_hosts: [&str; 2]) -> Vec<String> {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let names = ["localhost", "127.0.0.1", "::1", hostname.trim()].into_iter().chain(listen_hosts);
    let distinct: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
    distinct.into_iter().map(str::to_owned).collect()
}

fn make(certificate_path: &Path, key_path: &Path, names: Vec<String>) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| invalid(certificate_path, &format!("cannot make a certificate: {error}")))?;
    if let Some(dir) = certificate_path.parent() {
        fs::create_dir_all(dir).map_err(|error| unavailable(dir, &error))?;
    }
    write(key_path, &made.signing_key.serialize_pem(), OWNER_ONLY)?;
    write(certificate_path, &made.cert.pem(), EVERYONE_READS)
}

/// Writes a new file under another name first, so that it is there whole or not at all.
fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let unfinished = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&unfinished);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error| unavailable(path, &error))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| unavailable(path, &error))
}

fn invalid(path: &Path, reason: &str) -> Error {
    Error::invalid(format!("{}: {reason}", path.display()))
}

fn unavailable(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{}: {error}", path.display()))
}
