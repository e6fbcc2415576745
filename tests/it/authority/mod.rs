//! `mantlet ca serve`: enrolment by openssl and curl, revocation, rotation, and what attackers try.

mod attacks;
mod crash;
mod deltas;
mod enrolment;
mod offline_root;
mod passphrase;
mod replicas;
mod rig;
mod rotation;
mod serving;
