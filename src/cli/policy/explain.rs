//! `mantlet policy explain`: the decision about a request, without the request.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use http::Method;
use http::uri::PathAndQuery;
use serde_json::{Map, Value, json};

use crate::cli::exit_code;
use crate::cli::output::{print, print_json, unusable};
use crate::cli::status::{printable, section};
use crate::config::{Config, Inbound, Protocol};
use crate::identity::{PeerIdentity, PeerPattern, ProvenNames, User};
use crate::policy::{AccessRequest, Denial, Explanation, Policy, RequestFacts, RuleVerdict};

/// Explain why a request is let in or denied
///
/// Asks the code that decides in a running sidecar about one request to an inbound listener of a configuration file, and tells
/// of each rule why it does or does not match. A terminal gets a table, a pipe JSON. Exit code 0 when the request is allowed,
/// 1 when it is denied, 2 when the file or an argument cannot be used. Certificates and CRLs are not looked at.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mantlet policy explain config/adservice.toml --peer spiffe://fleamarket.internal/gateway --method GET --path /ads
  mantlet policy explain ads.toml --peer anonymous --method GET --path /healthz
  mantlet policy explain ads.toml --peer spiffe://fm/gateway --method POST --path /ads --claims '{\"sub\": \"ann\", \"role\": \"seller\"}'")]
pub(super) struct Args {
    /// The configuration file
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Who calls: the name that its certificate proves, or "anonymous" for none
    #[arg(long, value_name = "spiffe://...|DNS-NAME|IP|anonymous", value_parser = parse_peer)]
    peer: PeerIdentity,
    /// The request's method
    #[arg(long, value_name = "METHOD")]
    method: Method,
    /// The request's path as it is sent, escapes and all; a query is not looked at
    #[arg(long, value_name = "PATH")]
    path: PathAndQuery,
    /// The inbound listener; needed where there are several
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The claims of the end user whom the caller tells of; without them it tells of none
    #[arg(long, value_name = "JSON", value_parser = parse_claims)]
    claims: Option<Map<String, Value>>,
    /// Print JSON also on a terminal
    #[arg(long)]
    json: bool,
}

/// A question and its answer.
struct Answer<'a> {
    listener: &'a str,
    args: &'a Args,
    /// The user whom the listener believes in.
    user: Option<&'a User>,
    explanation: Explanation<'a>,
}

pub(super) fn execute(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&args.file) {
        Ok((config, _)) => config,
        Err(problems) => return Ok(unusable(&problems.to_string().lines().map(str::to_owned).collect::<Vec<_>>())),
    };
    let inbound = match chosen(&config, args.listener.as_deref()) {
        Ok(inbound) => inbound,
        Err(problem) => return Ok(unusable(&[format!("{}: {problem}", args.file.display())])),
    };
    let policy = Policy::new(&inbound.allow, &inbound.rules, &inbound.user_from);
    let user = args.claims.clone().filter(|_| policy.believes_of_users(&args.peer)).map(user_of);
    let answer = Answer::new(&inbound.name.value, &policy, args, user.as_ref());
    if args.json || !stdout().is_terminal() {
        print_json(&answer.to_json())?;
    } else {
        print(&answer.to_text())?;
    }
    let is_allowed = answer.explanation.decision.is_ok();
    Ok(if is_allowed { ExitCode::SUCCESS } else { ExitCode::from(exit_code::FAILED) })
}

/// The listener that is asked about: the one of this name, or the only one.
fn chosen<'c>(config: &'c Config, name: Option<&str>) -> Result<&'c Inbound, String> {
    let http: Vec<&Inbound> = config.inbound.iter().filter(|inbound| inbound.protocol == Protocol::Http).collect();
    let names = || http.iter().map(|inbound| inbound.name.value.as_str()).collect::<Vec<_>>().join(", ");
    match (name, &http[..]) {
        (_, []) => Err("there is no [[inbound]] listener for HTTP: nothing decides about requests".to_owned()),
        (None, [only]) => Ok(only),
        (None, _) => Err(format!("there are several inbound listeners; choose one with --listener: {}", names())),
        (Some(name), all) => {
            let found = all.iter().find(|inbound| inbound.name.value == name);
            found
                .copied()
                .ok_or_else(|| format!("there is no inbound listener {name:?} for HTTP; there are: {}", names()))
        }
    }
}

fn parse_peer(text: &str) -> Result<PeerIdentity, String> {
    let names = match text.parse::<PeerPattern>().map_err(|error| error.to_string())? {
        PeerPattern::Anonymous => return Ok(PeerIdentity::Anonymous),
        PeerPattern::Spiffe(id) => ProvenNames { spiffe_id: Some(id), ..Default::default() },
        PeerPattern::Dns(name) => ProvenNames { dns_names: vec![name.into()], ..Default::default() },
        PeerPattern::Ip(address) => ProvenNames { ip_addresses: vec![address], ..Default::default() },
        PeerPattern::SpiffeBelow(_) | PeerPattern::DnsBelow(_) => return Err("a caller has one name, no \"*\"".into()),
    };
    Ok(PeerIdentity::Authenticated(names))
}

fn parse_claims(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("expected a JSON object such as {{\"role\": \"seller\"}}: {error}"))
}

fn user_of(claims: Map<String, Value>) -> User {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    User { issuer: text("iss"), subject: text("sub"), claims }
}

impl<'a> Answer<'a> {
    fn new(listener: &'a str, policy: &'a Policy, args: &'a Args, user: Option<&'a User>) -> Self {
        let explanation = policy.explain(AccessRequest {
            peer: &args.peer,
            is_withdrawn: false,
            request: Some(RequestFacts { method: args.method.as_str(), path: args.path.path() }),
            user,
        });
        Self { listener, args, user, explanation }
    }

    fn to_text(&self) -> String {
        let Args { peer, method, path, .. } = self.args;
        let request = printable(&format!("{method} {} from {peer} at {:?}", path.path(), self.listener));
        let mut text = match &self.explanation.decision {
            Ok(permit) => match permit.rule() {
                Some(rule) => format!("allowed: {request}, by the rule \"{rule}\"\n"),
                None => format!("allowed: {request}, by the allow list; there are no rules\n"),
            },
            Err(denial) => {
                let why = printable(&denial.to_string());
                format!("denied: {request}\n  reason  {}: {why}\n", denial.rule.label())
            }
        };
        if self.is_user_disbelieved() {
            text.push_str(
                "  note    the listener's user_from does not list this caller: what it says of the user is removed\n",
            );
        }
        if self.explanation.rules.is_empty() {
            let hint = self.explanation.decision.as_ref().err().map(|denial| denial.rule.hint());
            text.extend(hint.map(|hint| format!("  hint    {hint}\n")));
        } else {
            let rows = self.explanation.rules.iter().map(|verdict| {
                let RuleVerdict { rule, .. } = verdict;
                [rule.name.to_string(), rule.action.label().to_owned(), why(verdict)]
            });
            text.push('\n');
            text.push_str(&section(
                "RULES, OF WHICH THE FIRST THAT MATCHES DECIDES",
                ["RULE", "ACTION", "MATCHES"],
                rows,
                "",
            ));
        }
        text
    }

    /// One object: `listener`, `peer`, `method`, `path`, `user`, `allowed`, `rule`, `reason`, `detail`, `hint` and `rules`. What
    /// does not apply is null or empty.
    fn to_json(&self) -> Value {
        let decision = &self.explanation.decision;
        let denial = decision.as_ref().err();
        let deciding = decision.as_ref().map_or_else(|denial: &Denial| denial.name.as_ref(), |permit| permit.rule());
        json!({
            "listener": self.listener,
            "peer": self.args.peer.to_string(),
            "method": self.args.method.as_str(),
            "path": self.args.path.path(),
            "user": self.user.map(|user| &user.claims),
            "user_disbelieved": self.is_user_disbelieved(),
            "allowed": decision.is_ok(),
            "rule": deciding.map(|name| &**name),
            "reason": denial.map(|denial| denial.rule.label()),
            "detail": denial.map(ToString::to_string),
            "hint": denial.map(|denial| denial.rule.hint()),
            "rules": self.explanation.rules.iter().map(|verdict| json!({
                "name": &*verdict.rule.name,
                "action": verdict.rule.action.label(),
                "matches": verdict.mismatches.is_empty(),
                "decides": verdict.decides,
                "mismatches": verdict.mismatches.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }

    fn is_user_disbelieved(&self) -> bool {
        self.args.claims.is_some() && self.user.is_none()
    }
}

/// The last column: whether a rule matches, and why not.
fn why(verdict: &RuleVerdict<'_>) -> String {
    match (&verdict.mismatches[..], verdict.decides) {
        ([], true) => "yes, and decides".to_owned(),
        ([], false) => "yes, but an earlier one does".to_owned(),
        (mismatches, _) => {
            let reasons: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
            format!("no: {}", reasons.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: Args,
    }

    fn explained(more: &[&str]) -> String {
        let text = r#"
            [identity]
            certificate = "ads.pem"
            [trust]
            anchors = ["ca.pem"]
            [revocation]
            sources = ["ca.crl"]
            [[inbound]]
            name = "ads"
            listen = "127.0.0.1:8443"
            forward_to = "127.0.0.1:8080"
            allow = ["spiffe://fm/gateway", "spiffe://fm/batch"]
            user_from = ["spiffe://fm/gateway"]
            [[inbound.rule]]
            name = "no purge"
            action = "deny"
            methods = ["PURGE"]
            [[inbound.rule]]
            name = "sell"
            from = ["spiffe://fm/gateway"]
            methods = ["POST"]
            paths = ["/ads"]
            claims = { role = ["seller", "admin"] }
            [[inbound.rule]]
            name = "read"
            methods = ["GET"]
            paths = ["/ads", "/ads/{id}"]
        "#;
        let config = Config::parse("ads.toml".as_ref(), text).unwrap_or_else(|problems| panic!("{problems}")).0;
        let args = ["explain", "ads.toml"].iter().chain(more);
        let args = CommandLine::try_parse_from(args).unwrap_or_else(|error| panic!("{error}")).args;
        let inbound = chosen(&config, None).expect("one");
        let policy = Policy::new(&inbound.allow, &inbound.rules, &inbound.user_from);
        let user = args.claims.clone().filter(|_| policy.believes_of_users(&args.peer)).map(user_of);
        Answer::new("ads", &policy, &args, user.as_ref()).to_text()
    }

    const GATEWAY: &str = "--peer=spiffe://fm/gateway";
    const SELLER: &str = "--claims={\"sub\": \"ann\", \"role\": \"seller\"}";

    #[test]
    fn an_explanation_tells_what_decided_and_what_each_rule_says() {
        let questions: [&[&str]; 5] = [
            &[GATEWAY, "--method=GET", "--path=/ads/7?near=here"],
            &[GATEWAY, "--method=POST", "--path=/ads", SELLER],
            &["--peer=spiffe://fm/batch", "--method=POST", "--path=/ads", SELLER],
            &[GATEWAY, "--method=GET", "--path=/ads//7"],
            &["--peer=anonymous", "--method=GET", "--path=/ads"],
        ];
        let answers: Vec<String> = questions.iter().map(|question| explained(question)).collect();
        insta::assert_snapshot!(answers.join("\n"));
    }
}
