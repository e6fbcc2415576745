//! Tokens that were verified lately, so that the next request with one of them costs no signature.
//!
//! A token is known by its SHA-256. What is found is good for as long as its claims hold and the keys are those that verified it. Only good
//! tokens are kept, and they are bounded, so that whoever sends many displaces others and takes no more memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::digest;

use crate::identity::User;

use super::claims::Validity;
use super::issuers::KnownIssuer;
use super::key::Keys;

/// Locks, so that threads seldom wait for each other.
const SHARDS: usize = 16;
/// Most tokens of a shard that are young; as many more may be old.
const MAX_YOUNG: usize = 64;

/// A token by its SHA-256.
pub(super) type TokenDigest = [u8; 32];

/// A verified token.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) issuer: Arc<KnownIssuer>,
    /// The keys that verified it.
    pub(super) keys: Arc<Keys>,
    /// When the certificate of its key ends; absent where the key came in none.
    pub(super) key_until: Option<SystemTime>,
    /// When its claims hold.
    pub(super) validity: Validity,
    pub(super) user: Arc<User>,
}

/// The tokens.
#[derive(Debug, Default)]
pub(super) struct VerifiedTokens {
    shards: [Mutex<Shard>; SHARDS],
}

/// Two generations: when the young fill up they become the old, and what was old and not asked for since is gone.
#[derive(Debug, Default)]
struct Shard {
    young: Tokens,
    old: Tokens,
}

type Tokens = HashMap<TokenDigest, Verified>;

/// SHA-256.
pub(super) fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref());
    sum
}

impl VerifiedTokens {
    pub(super) fn find(&self, token: &TokenDigest) -> Option<Verified> {
        let mut shard = self.shard(token);
        if let Some(young) = shard.young.get(token) {
            return Some(young.clone());
        }
        let old = shard.old.remove(token)?;
        shard.add(*token, old.clone());
        Some(old)
    }

    pub(super) fn add(&self, token: TokenDigest, verified: Verified) {
        self.shard(&token).add(token, verified);
    }

    pub(super) fn remove(&self, token: &TokenDigest) {
        let mut shard = self.shard(token);
        shard.young.remove(token);
        shard.old.remove(token);
    }

    fn shard(&self, token: &TokenDigest) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[usize::from(token[0]) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn add(&mut self, token: TokenDigest, verified: Verified) {
        if self.young.len() >= MAX_YOUNG {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, verified);
    }
}
