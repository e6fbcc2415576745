//! The message that an agent gives an identity in (SPIFFE Workload API section 5.1), as one whole that is bounded.

use std::collections::{HashMap, HashSet};

use prost::Message as _;
use zeroize::Zeroizing;

use crate::config::WorkloadApi;
use crate::enrolment::Failure;
use crate::enrolment::failure::printable;
use crate::identity::{SpiffeId, TrustDomain};
use crate::x509::{Bundle, GivenMaterial, MAX_CRLS, split_certificates};

/// Most identities of one message.
const MAX_SVIDS: usize = 64;
/// Most certificates of a chain: as many as a peer may present, and our own.
const MAX_CHAIN: usize = 17;
/// Most anchors of one trust domain.
const MAX_ANCHORS: usize = 64;
/// Most trust domains that ours is federated with.
const MAX_FEDERATED: usize = 256;

/// `X509SVIDResponse`
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Response {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    federated_bundles: HashMap<String, Vec<u8>>,
}

/// `X509SVID`. Its `hint` is the operator's word for those who choose by it; here the SPIFFE ID is chosen by.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    /// `x509_svid`
    #[prost(bytes = "vec", tag = "2")]
    chain: Vec<u8>,
    /// `x509_svid_key`
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    bundle: Vec<u8>,
}

/// Reads a message. What is read is not verified.
///
/// # Errors
/// What is missing, malformed or too much.
pub(super) fn read(settings: &WorkloadApi, octets: &[u8]) -> Result<GivenMaterial, Failure> {
    let giver = settings.endpoint.value.to_string();
    let unusable = |detail: String| {
        Failure::unusable(format!("{giver}: what the agent gave cannot be used: {detail}"), "look at the agent's log")
    };
    let response = Response::decode(octets).map_err(|error| unusable(format!("it is no X509SVIDResponse: {error}")))?;
    let Response { svids, crl: crls, federated_bundles } = response;
    bounded("identities", svids.len(), MAX_SVIDS).map_err(unusable)?;
    bounded("CRLs", crls.len(), MAX_CRLS).map_err(unusable)?;
    bounded("federated bundles", federated_bundles.len(), MAX_FEDERATED).map_err(unusable)?;
    // The keys of identities that are not ours are wiped as well.
    let svids = svids.into_iter().map(|svid| {
        let Svid { spiffe_id, chain, key, bundle } = svid;
        (spiffe_id, chain, Zeroizing::new(key), bundle)
    });
    let svids: Vec<_> = svids.collect();
    let stated: Vec<String> = svids.iter().map(|(spiffe_id, ..)| printable(spiffe_id)).collect();
    let Some((spiffe_id, chain, key, bundle)) = chosen(settings, svids) else {
        return Err(match &settings.spiffe_id {
            Some(wanted) if !stated.is_empty() => not_given(&giver, &wanted.value, &stated),
            _ => unusable("it holds no identity".to_owned()),
        });
    };
    let spiffe_id: SpiffeId =
        spiffe_id.parse().map_err(|error| unusable(format!("the SPIFFE ID of our identity: {error}")))?;
    if key.is_empty() {
        return Err(unusable(format!("the identity {spiffe_id} comes without a key")));
    }
    let chain = split_certificates(&chain, MAX_CHAIN)
        .map_err(|detail| unusable(format!("the certificate of {spiffe_id} {detail}")))?;
    let bundles = bundles(&spiffe_id, &bundle, federated_bundles).map_err(unusable)?;
    Ok(GivenMaterial { giver, spiffe_id, chain, key, bundles, crls })
}

/// An identity as it came: SPIFFE ID, chain, key and bundle.
type Parts = (String, Vec<u8>, Zeroizing<Vec<u8>>, Vec<u8>);

/// That which the configuration names, or else the first.
fn chosen(settings: &WorkloadApi, svids: Vec<Parts>) -> Option<Parts> {
    let is_wanted = |stated: &str| settings.spiffe_id.as_ref().is_none_or(|wanted| wanted.value.as_str() == stated);
    svids.into_iter().find(|(stated, ..)| is_wanted(stated))
}

/// Our own bundle first, then the others by name.
fn bundles(own: &SpiffeId, bundle: &[u8], federated: HashMap<String, Vec<u8>>) -> Result<Vec<Bundle>, String> {
    let own: TrustDomain = own.trust_domain().parse().map_err(|error| format!("{error}"))?;
    let anchors = split_certificates(bundle, MAX_ANCHORS)
        .map_err(|detail| format!("the bundle of {:?} {detail}", own.as_str()))?;
    let mut bundles = vec![Bundle { trust_domain: own.clone(), anchors, fault: None }];
    let mut seen = HashSet::from([own]);
    let mut federated: Vec<(String, Vec<u8>)> = federated.into_iter().collect();
    federated.sort();
    for (name, octets) in federated {
        // By the specification a SPIFFE ID without a path; some agents write the bare name.
        let bare = name.strip_prefix("spiffe://").unwrap_or(&name);
        let trust_domain: TrustDomain = bare.parse().map_err(|error| format!("a federated bundle: {error}"))?;
        if !seen.insert(trust_domain.clone()) {
            return Err(format!("there are two bundles of {:?}", trust_domain.as_str()));
        }
        // What another domain publishes must not keep our own certificate from us.
        let (anchors, fault) = match split_certificates(&octets, MAX_ANCHORS) {
            Ok(anchors) => (anchors, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        bundles.push(Bundle { trust_domain, anchors, fault });
    }
    Ok(bundles)
}

fn bounded(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count > most { Err(format!("it holds {count} {what}, more than {most}")) } else { Ok(()) }
}

fn not_given(giver: &str, wanted: &SpiffeId, stated: &[String]) -> Failure {
    const SHOWN: usize = 8;
    let shown = stated.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = if stated.len() > SHOWN { format!(" and {} more", stated.len() - SHOWN) } else { String::new() };
    Failure {
        label: "other_identity",
        ..Failure::unusable(
            format!("{giver}: the agent gives {shown}{more}, and not {wanted}"),
            "compare identity.spiffe_id with the registration entries of this workload",
        )
    }
}
