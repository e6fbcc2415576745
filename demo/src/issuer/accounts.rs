//! Who can sign in: the users of the flea market, with passwords that everybody may know.

/// A user as the issuer knows them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// The `sub` of the tokens, and the id under which `UserService` knows the user.
    pub(crate) subject: &'static str,
    pub(crate) name: &'static str,
    pub(crate) email: &'static str,
    pub(crate) email_verified: bool,
    /// `buyer`, `seller` or `admin`.
    pub(crate) role: &'static str,
    pub(crate) password: &'static str,
}

const ACCOUNTS: [Account; 9] = [
    seller("anneke", "Anneke Brandt", "anneke@example.org", "market-anneke"),
    seller("birol", "Birol Kaya", "birol@example.org", "market-birol"),
    seller("clara", "Clara Nowak", "clara@example.org", "market-clara"),
    // One who never followed the link in the mail.
    Account { email_verified: false, ..seller("dmitri", "Dmitri Sokolow", "dmitri@example.org", "market-dmitri") },
    seller("esra", "Esra Lindner", "esra@example.org", "market-esra"),
    seller("fiete", "Fiete Harms", "fiete@example.org", "market-fiete"),
    seller("greta", "Greta Lind", "greta@example.org", "market-greta"),
    Account { role: "admin", ..seller("hugo", "Hugo Weiss", "hugo@example.org", "market-hugo") },
    Account { role: "buyer", ..seller("ida", "Ida Vogel", "ida@example.org", "market-ida") },
];

const fn seller(subject: &'static str, name: &'static str, email: &'static str, password: &'static str) -> Account {
    Account { subject, name, email, email_verified: true, role: "seller", password }
}

impl Account {
    /// The account with this e-mail address and password.
    pub(super) fn signed_in(email: &str, password: &str) -> Option<&'static Self> {
        ACCOUNTS.iter().find(|account| account.email == email && account.password == password)
    }

    /// The account with this subject.
    pub(crate) fn of(subject: &str) -> Option<&'static Self> {
        ACCOUNTS.iter().find(|account| account.subject == subject)
    }
}
