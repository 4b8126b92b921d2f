//! The control plane's own certificate authority.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::{Error, Result};

/// Signs certificates for servers and people. Its key is only in memory: nobody can sign in its name later.
pub(crate) struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new authority that keeps its certificate, and all that it signs, in the directory.
    pub fn new(name: &str, directory: PathBuf) -> Result<Self> {
        let failed = |source| Error::Certificate { subject: name.to_owned(), source };
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = rcgen::CertifiedIssuer::self_signed(params, key).map_err(failed)?;
        let authority = Self { issuer, directory };
        write(&authority.certificate(), &authority.pem())?;
        Ok(authority)
    }

    /// The file of the authority's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// The authority's certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server that is reached at these names and addresses. It may be a client too: etcd is, of
    /// itself.
    pub fn server(&self, file: &str, hosts: &[&str]) -> Result<Identity> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let failed = |source| Error::Certificate { subject: file.to_owned(), source };
        let mut params = CertificateParams::new(hosts).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, &params)
    }

    /// A certificate that the API server takes for this user in these groups.
    pub fn person(&self, file: &str, name: &str, groups: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        self.sign(file, &params)
    }

    fn sign(&self, file: &str, params: &CertificateParams) -> Result<Identity> {
        let failed = |source| Error::Certificate { subject: file.to_owned(), source };
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let identity = Identity {
            certificate: self.directory.join(format!("{file}.crt")),
            key: self.directory.join(format!("{file}.key")),
        };
        write(&identity.certificate, &certificate.pem())?;
        write(&identity.key, &key.serialize_pem())?;
        Ok(identity)
    }
}

/// Makes the pair of keys that `ServiceAccount` tokens are signed and checked with.
pub(crate) fn token_keys(directory: &Path) -> Result<Identity> {
    let failed = |source| Error::Certificate { subject: "ServiceAccounts".to_owned(), source };
    let pair = KeyPair::generate().map_err(failed)?;
    let identity = Identity { certificate: directory.join("tokens.pub"), key: directory.join("tokens.key") };
    write(&identity.certificate, &pair.public_key_pem())?;
    write(&identity.key, &pair.serialize_pem())?;
    Ok(identity)
}

/// Writes a file that only its owner can read: some hold keys and tokens.
pub(crate) fn write(path: &Path, contents: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(contents.as_bytes())).map_err(Error::io("write", path))
}
