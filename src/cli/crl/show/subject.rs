//! One CRL as it is looked at.

use std::sync::Arc;
use std::time::SystemTime;

use crate::x509::{CertificateInfo, CrlDetails, CrlEntry, CrlError, CrlIssuers, VerifiedCrl};

use super::Args;

/// Most entries of one serial number that are shown; one is enough to revoke.
const MAX_ENTRIES_OF_ONE: usize = 4;

/// What is known of one CRL.
pub(super) struct Subject {
    /// Its place in the input, from 1.
    pub(super) position: usize,
    pub(super) details: CrlDetails,
    /// The entries of the serial number that was asked for.
    pub(super) listed: Option<Vec<CrlEntry>>,
    pub(super) verdict: Verdict,
}

/// Whether a CA signed it that is known here.
pub(super) enum Verdict {
    /// Nobody asked.
    NotVerified,
    SignedBy(Box<CertificateInfo>),
    Refused(CrlError),
}

impl Subject {
    pub(super) fn read(
        der: &[u8],
        position: usize,
        args: &Args,
        issuers: Option<&CrlIssuers>,
        now: SystemTime,
    ) -> Result<Self, CrlError> {
        let details = CrlDetails::read(der, args.entries.try_into().unwrap_or(usize::MAX))?;
        let listed = args.serial.as_ref().map(|serial| CrlDetails::entries_of(der, serial, MAX_ENTRIES_OF_ONE));
        let verdict = match issuers {
            None => Verdict::NotVerified,
            Some(issuers) => Verdict::of(der, issuers, &args.input, now),
        };
        Ok(Self { position, details, listed: listed.transpose()?, verdict })
    }

    pub(super) fn is_overdue(&self, now: SystemTime) -> bool {
        self.details.next_update < now
    }
}

impl Verdict {
    fn of(der: &[u8], issuers: &CrlIssuers, input: &str, now: SystemTime) -> Self {
        match VerifiedCrl::read(der, issuers, &Arc::from(input), now) {
            Ok(crl) => match issuers.signer_of(&crl) {
                Some(signer) => Self::SignedBy(Box::new(signer.clone())),
                None => Self::Refused(CrlError::UnknownIssuer { issuer: crl.info.issuer }),
            },
            Err(error) => Self::Refused(error),
        }
    }
}

/// What to do about a CRL that is not used.
pub(super) fn remedy(error: &CrlError) -> &'static str {
    match error {
        CrlError::Der(_) => "get it from the CA again: it is damaged, or no CRL",
        CrlError::UnknownIssuer { .. } => "give the issuer's certificate by --trust-anchors or --intermediates",
        other => other.remedy(),
    }
}
