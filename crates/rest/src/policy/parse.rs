//! The language: `or`, `and`, `not`, parentheses, `kind:match`, `@` (always), `!` (never). Empty means always.

use super::check::{Check, FieldValue, Template};

/// Deeper nesting than this is refused, so that no file can exhaust the stack.
const MAX_DEPTH: usize = 64;

pub(crate) fn parse(text: &str) -> Result<Check, String> {
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Ok(Check::True);
    }
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let check = parser.or(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(check),
        Some(token) => Err(format!("unexpected '{token}'")),
    }
}

/// Words, with parentheses as words of their own unless they belong to a `%(name)s`.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while let Some(after) = rest.strip_prefix('(') {
            tokens.push("(".to_owned());
            rest = after;
        }
        let mut closing = 0;
        while rest.ends_with(')') && rest.matches(')').count() > rest.matches("%(").count() {
            rest = &rest[..rest.len() - 1];
            closing += 1;
        }
        if !rest.is_empty() {
            tokens.push(rest.to_owned());
        }
        tokens.extend(std::iter::repeat_n(")".to_owned(), closing));
    }
    tokens
}

struct Parser<'a> {
    tokens: &'a [String],
    at: usize,
}

impl Parser<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| t.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Result<Check, String> {
        let mut checks = vec![self.and(depth)?];
        while self.takes("or") {
            checks.push(self.and(depth)?);
        }
        Ok(if checks.len() == 1 { checks.remove(0) } else { Check::Or(checks) })
    }

    fn and(&mut self, depth: usize) -> Result<Check, String> {
        let mut checks = vec![self.not(depth)?];
        while self.takes("and") {
            checks.push(self.not(depth)?);
        }
        Ok(if checks.len() == 1 { checks.remove(0) } else { Check::And(checks) })
    }

    fn not(&mut self, depth: usize) -> Result<Check, String> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        if self.takes("not") {
            return Ok(Check::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.takes("(") {
            let check = self.or(depth + 1)?;
            return if self.takes(")") { Ok(check) } else { Err("a ')' is missing".to_owned()) };
        }
        let token = self.tokens.get(self.at).ok_or("the rule ends too early")?;
        self.at += 1;
        atom(token)
    }
}

fn atom(token: &str) -> Result<Check, String> {
    match token {
        "@" => return Ok(Check::True),
        "!" => return Ok(Check::False),
        _ => {}
    }
    // A quoted literal may itself hold a colon.
    for quote in ['\'', '"'] {
        if let Some(rest) = token.strip_prefix(quote)
            && let Some((literal, wanted)) = rest.split_once(&format!("{quote}:"))
        {
            return Ok(Check::Literal { literal: literal.to_owned(), wanted: Template::parse(wanted) });
        }
    }
    let (kind, wanted) = token.split_once(':').ok_or_else(|| format!("'{token}' is not a check"))?;
    Ok(match kind {
        "role" => Check::Role(Template::parse(wanted)),
        "rule" => Check::Rule(wanted.to_owned()),
        "field" => field(wanted)?,
        "http" | "https" => return Err("checks by http are not supported".to_owned()),
        "True" | "False" | "None" => Check::Literal { literal: kind.to_owned(), wanted: Template::parse(wanted) },
        _ => Check::Attribute { of_caller: kind.to_owned(), wanted: Template::parse(wanted) },
    })
}

/// `networks:router:external=True`: a resource, a field (which may hold colons), a value or `~` and a pattern.
fn field(text: &str) -> Result<Check, String> {
    let parts = text.split_once(':').and_then(|(_resource, rest)| rest.split_once('='));
    let (name, value) = parts.ok_or_else(|| format!("'field:{text}' is not a check of a field"))?;
    let wanted = match value.strip_prefix('~') {
        None => FieldValue::Text(value.to_owned()),
        Some(pattern) => FieldValue::Matches(regex::Regex::new(pattern).map_err(|e| e.to_string())?),
    };
    Ok(Check::Field { name: name.to_owned(), wanted })
}
