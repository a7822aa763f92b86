//! TLS to the broker: whom we trust, who we are, and what to do when one of the two is not believed.

use std::io;
use std::path::{Path, PathBuf};

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use rustls::{AlertDescription, CertificateError, Error};

use crate::config::{BrokerConfig, BrokerConfigError, private, read};

/// Names another bundle than the system's, as it does for OpenSSL.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";
/// The system's bundle, as Debian's `ca-certificates` installs it.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What lapin needs for `amqps`, read now.
pub(crate) fn settings(config: &BrokerConfig) -> Result<OwnedTLSConfig, BrokerConfigError> {
    let bundle = || std::env::var_os(BUNDLE_VARIABLE).map_or_else(|| BUNDLE.into(), PathBuf::from);
    let trusted = config.ca_file.clone().unwrap_or_else(bundle);
    let identity = match (&config.certificate_file, &config.key_file) {
        (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(BrokerConfigError::HalfAnIdentity),
    };
    Ok(OwnedTLSConfig { identity, cert_chain: Some(read(&trusted)?) })
}

fn identity(certificate: &Path, key: &Path) -> Result<OwnedIdentity, BrokerConfigError> {
    private(key)?;
    Ok(OwnedIdentity::PKCS8 { pem: read(certificate)?.into_bytes(), key: read(key)?.into_bytes() })
}

/// What to do about a connection that failed because of TLS; `None` when it failed because of something else.
pub(crate) fn advice(error: &io::Error) -> Option<&'static str> {
    let inner = error.get_ref()?;
    if let Some(error) = inner.downcast_ref::<Error>() {
        return Some(advise(error));
    }
    // lapin and the stream below it wrap errors in errors.
    let mut source = Some(inner as &(dyn std::error::Error + 'static));
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<Error>() {
            return Some(advise(error));
        }
        if let Some(advice) = error.downcast_ref::<io::Error>().and_then(advice) {
            return Some(advice);
        }
        source = error.source();
    }
    None
}

fn advise(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the broker's certificate is signed by nobody whom we trust: name the certificate of its CA in \
             broker.ca_file"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for another host: use a name that is in it in broker.url",
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "the broker's certificate is not valid now: renew it, or set this host's clock",
        Error::InvalidMessage(_) => {
            "no TLS is spoken at that port: use the broker's port for TLS, which is 5671 unless it was changed"
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure,
        ) => {
            "the broker wants a certificate from us that it trusts: name one in broker.certificate_file and \
             broker.key_file"
        }
        // The rest of rustls's errors, which it may add to, is between the two implementations.
        _ => "the two sides of the TLS connection do not agree: look into the broker's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_found_however_deep_the_error_lies() {
        let error = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let shallow = io::Error::new(io::ErrorKind::InvalidData, error());
        let deep = io::Error::other(io::Error::other(error()));
        for error in [shallow, deep] {
            assert!(advice(&error).unwrap().contains("broker.ca_file"));
        }
        assert_eq!(advice(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
        assert_eq!(advice(&io::Error::other("something else")), None);
    }
}
