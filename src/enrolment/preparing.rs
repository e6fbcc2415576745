//! From a configuration to a plan: the folder, what is held there, and what proves who we are.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::config::{Bootstrap, Config, Enrolment, Identity, OnUnknown, Revocation, Trust};
use crate::x509::{
    Credential, GivenMaterial, Instant, MaterialPart, MaterialProblem, MaterialSources, RevocationLists,
    RevocationPolicy, TrustMaterial, UnusableMaterial,
};

use super::exchange::{Proof, Secret};
use super::follow::Following;
use super::plan::{Held, Plan};
use super::state::StateDir;
use super::{Engine, Failure};

/// Longest one-time secret.
const MAX_SECRET: u64 = 4096;

/// A plan that is not followed yet.
#[derive(Debug)]
pub struct Prepared {
    pub(super) plan: Option<Following>,
    /// What is worth knowing and prevents nothing.
    pub findings: Vec<MaterialProblem>,
}

impl Prepared {
    /// Whether there is a certificate that can be used now, or none is asked for.
    pub fn is_enrolled(&self) -> bool {
        self.missing().is_none()
    }

    /// Why there is none.
    pub fn missing(&self) -> Option<&str> {
        self.plan.as_ref().and_then(Following::missing)
    }

    /// What an agent gave, where one does and has.
    pub fn given(&self) -> Option<&Arc<GivenMaterial>> {
        self.plan.as_ref().and_then(Following::given)
    }
}

impl Engine {
    /// Looks at what the configuration asks for, and at what is held already, without using anything yet. Makes the folder.
    ///
    /// # Errors
    /// Every problem that neither authority nor agent can mend.
    pub fn prepare(&self, config: &Config, now: SystemTime) -> Result<Prepared, Vec<MaterialProblem>> {
        let settings = match &config.identity {
            Identity::Files(_) => return Ok(Prepared { plan: None, findings: Vec::new() }),
            #[cfg(feature = "spiffe")]
            Identity::WorkloadApi(settings) => {
                let before = match &self.plan {
                    Some(Following::Agent(before)) => Some(&**before),
                    _ => None,
                };
                let plan = super::workload::Plan::new(config, settings, before, &self.lists, now)
                    .map_err(|unusable| unusable.problems)?;
                return Ok(Prepared { plan: Some(Following::Agent(Box::new(plan))), findings: Vec::new() });
            }
            // No configuration of such a build has it.
            #[cfg(not(feature = "spiffe"))]
            Identity::WorkloadApi(_) => return Ok(Prepared { plan: None, findings: Vec::new() }),
            Identity::Authority(settings) => settings,
        };
        let (state, mut findings) = StateDir::open(settings).map_err(|problem| vec![problem])?;
        let (held, missing) = match hold(config, &state, &self.lists, now)? {
            Ok(held) => (Some(held), None),
            Err(missing) => (None, Some(missing)),
        };
        match read_proof(&settings.bootstrap) {
            Ok((_, open)) => findings.extend(open),
            // What was good once may be gone once we are certified.
            Err(problem) if held.is_some() => findings.push(MaterialProblem { fatal: false, ..problem }),
            Err(problem) => return Err(vec![problem]),
        }
        let plan = Plan::new(config, settings, state, held, missing);
        Ok(Prepared { plan: Some(Following::Authority(Box::new(plan))), findings })
    }
}

/// What can be known of an enrolment without asking anyone: the folder, what it holds, and what proves who we are.
///
/// The first value is what is missing for a start without asking the authority.
pub fn examine(
    identity: &Identity,
    trust: &Trust,
    revocation: Option<&Revocation>,
    now: SystemTime,
) -> (Option<String>, Vec<MaterialProblem>) {
    let Identity::Authority(settings) = identity else { return (None, Vec::new()) };
    let missing = if settings.credential_file().exists() {
        let (lists, _) = RevocationLists::new();
        let sources = MaterialSources::new(identity, trust, revocation);
        TrustMaterial::load_at(&sources, &lists, now).err().and_then(|unusable| own_fault(&unusable, trust))
    } else {
        Some(nothing_held(settings))
    };
    let state = StateDir::at(settings);
    let mut problems = state.access_problems();
    match (read_proof(&settings.bootstrap), &missing) {
        (Ok((_, open)), Some(missing)) => {
            problems.extend(open);
            let unusable = bootstrap_proof(settings, &state, missing, now).err();
            problems.extend(unusable.map(|failure| MaterialProblem {
                part: MaterialPart::Bootstrap,
                fatal: true,
                message: failure.message,
                remedy: failure.remedy,
            }));
        }
        (Ok((_, open)), None) => problems.extend(open),
        (Err(problem), missing) => problems.push(MaterialProblem { fatal: missing.is_some(), ..problem }),
    }
    (missing, problems)
}

/// The certificate in the folder, or why there is none that can be used.
fn hold(
    config: &Config,
    state: &StateDir,
    lists: &Arc<RevocationLists>,
    now: SystemTime,
) -> Result<Result<Held, String>, Vec<MaterialProblem>> {
    if let Identity::Authority(settings) = &config.identity
        && !state.credential.exists()
    {
        return Ok(Err(nothing_held(settings)));
    }
    match TrustMaterial::load_at(&MaterialSources::from(config), lists, now) {
        Ok((material, _)) => match (material.own, material.credential) {
            (Some(info), Some(key)) => Ok(Ok(Held { info, key, obtained: obtained(&state.credential) })),
            _ => Ok(Err(format!("{}: holds no certificate with its key", state.credential.display()))),
        },
        Err(unusable) => match own_fault(&unusable, &config.trust) {
            Some(missing) => Ok(Err(missing)),
            None => Err(unusable.problems),
        },
    }
}

fn nothing_held(settings: &Enrolment) -> String {
    format!("{}: there is no certificate yet", settings.state_dir.value.display())
}

/// Why what the authority gave cannot be used, where it is down to that alone.
fn own_fault(unusable: &UnusableMaterial, trust: &Trust) -> Option<String> {
    let is_ours = |part| match part {
        MaterialPart::Certificate | MaterialPart::PrivateKey => true,
        MaterialPart::Anchor(index) => index >= trust.anchors.len(),
        _ => false,
    };
    let fatal: Vec<&MaterialProblem> = unusable.problems.iter().filter(|problem| problem.fatal).collect();
    let all_ours = fatal.iter().all(|problem| is_ours(problem.part));
    fatal.first().filter(|_| all_ours).map(|problem| problem.message.clone())
}

/// When the file was written; where that cannot be told its certificate counts from its own beginning.
fn obtained(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}

/// What proves who we are while no certificate is good, and what is worth knowing of its file.
pub(super) fn read_proof(bootstrap: &Bootstrap) -> Result<(Proof, Option<MaterialProblem>), MaterialProblem> {
    let path = &bootstrap.path().value;
    let problem = |message: String, remedy: &str| MaterialProblem {
        part: MaterialPart::Bootstrap,
        fatal: true,
        message,
        remedy: remedy.to_owned(),
    };
    let proof = match bootstrap {
        Bootstrap::Certificate(_) => {
            let credential = Credential::read(path).map_err(|error| {
                problem(
                    error.to_string(),
                    "name the file that \"mantlet ca bootstrap\" made, and let this user read it",
                )
            })?;
            Proof::Bootstrap(credential.key)
        }
        Bootstrap::SecretFile(_) => {
            let secret = read_secret(path).map_err(|detail| {
                let message = format!("{}: {detail}", path.display());
                problem(
                    message,
                    "name a file that holds the secret which \"mantlet ca register\" printed, and nothing else",
                )
            })?;
            Proof::Secret(Secret(secret))
        }
    };
    let mode = path.metadata().map_or(0, |metadata| metadata.permissions().mode() & 0o7777);
    let open = (mode & 0o077 != 0).then(|| MaterialProblem {
        part: MaterialPart::Bootstrap,
        fatal: false,
        message: format!(
            "{}: what proves who we are is open to group or others: its mode is {mode:04o}",
            path.display()
        ),
        remedy: format!("chmod 600 {}", path.display()),
    });
    Ok((proof, open))
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, String> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(String::new());
    let file = fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(MAX_SECRET + 1).read_to_string(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err("is empty: expected a secret".to_owned());
    }
    if text.len() as u64 > MAX_SECRET || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("holds no secret: expected one line of at most {MAX_SECRET} visible ASCII characters"));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// What proves who we are, held against what is known of it already.
pub(super) fn bootstrap_proof(
    settings: &Enrolment,
    state: &StateDir,
    why: &str,
    now: SystemTime,
) -> Result<Proof, Failure> {
    let (proof, _) =
        read_proof(&settings.bootstrap).map_err(|problem| Failure::unusable(problem.message, problem.remedy))?;
    let path = settings.bootstrap.path().value.display();
    let name = &settings.name.value;
    match &proof {
        Proof::Secret(secret) if state.is_used(&secret.0) => {
            let message = format!("{path}: the one-time secret has been used already, and {why}");
            let remedy = format!(
                "make another secret with \"mantlet ca secret {name} --dir DIR\" at the authority and write it to {path}"
            );
            Err(Failure { label: "secret_used", ..Failure::unusable(message, remedy) })
        }
        Proof::Bootstrap(_) => match Credential::read(&settings.bootstrap.path().value) {
            Ok(credential) if credential.info.not_after < now => {
                let message =
                    format!("{path}: the bootstrap certificate expired {}", Instant(credential.info.not_after));
                let remedy = format!("make another with \"mantlet ca bootstrap {name}\"");
                Err(Failure { label: "bootstrap_expired", ..Failure::unusable(message, remedy) })
            }
            _ => Ok(proof),
        },
        _ => Ok(proof),
    }
}

/// How revocation of the authority's own server is judged: what is known to be revoked is refused. What is unknown is not, for
/// the CRLs may come from where it leads to.
pub(super) fn lenient(revocation: Option<&Revocation>) -> Option<RevocationPolicy> {
    let policy = revocation.map(RevocationPolicy::from)?;
    Some(RevocationPolicy { on_stale: OnUnknown::Allow, on_missing: OnUnknown::Allow, ..policy })
}
