//! Words into an [`Expression`], by recursive descent with a bound on its depth.

use serde_json::Value;

use super::lex::Word;
use super::{InvalidFilter, MAX_DEPTH};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Not(Box<Expression>),
    Exists(Path),
    Compare(Path, Comparison, Value),
    In(Path, Vec<Value>),
}

pub(super) type Path = Vec<Step>;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Field(String),
    Item(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Names that a field can't have where it stands first.
const RESERVED: [&str; 8] = ["and", "or", "not", "in", "exists", "true", "false", "null"];

struct Parser {
    words: std::iter::Peekable<std::vec::IntoIter<(usize, Word)>>,
    end: usize,
    depth: usize,
}

pub(super) fn parse(words: Vec<(usize, Word)>, end: usize) -> Result<Expression, InvalidFilter> {
    let mut parser = Parser { words: words.into_iter().peekable(), end, depth: 0 };
    let expression = parser.either()?;
    match parser.words.next() {
        None => Ok(expression),
        Some((at, _)) => Err(InvalidFilter { at, problem: "expected `and`, `or` or the end".to_owned() }),
    }
}

impl Parser {
    fn either(&mut self) -> Result<Expression, InvalidFilter> {
        let mut terms = vec![self.both()?];
        while self.take_name("or") {
            terms.push(self.both()?);
        }
        Ok(alone(terms, Expression::Any))
    }

    fn both(&mut self) -> Result<Expression, InvalidFilter> {
        let mut terms = vec![self.term()?];
        while self.take_name("and") {
            terms.push(self.term()?);
        }
        Ok(alone(terms, Expression::All))
    }

    fn term(&mut self) -> Result<Expression, InvalidFilter> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.wrong(format!("nests deeper than {MAX_DEPTH}")));
        }
        let term = self.bare_term();
        self.depth -= 1;
        term
    }

    fn bare_term(&mut self) -> Result<Expression, InvalidFilter> {
        if self.take_name("not") {
            return Ok(Expression::Not(Box::new(self.term()?)));
        }
        if self.take_mark("(") {
            let inner = self.either()?;
            self.expect_mark(")")?;
            return Ok(inner);
        }
        if self.take_name("exists") {
            return Ok(Expression::Exists(self.path()?));
        }
        let path = self.path()?;
        if self.take_name("in") {
            return Ok(Expression::In(path, self.list()?));
        }
        let comparison = self.comparison()?;
        Ok(Expression::Compare(path, comparison, self.literal()?))
    }

    fn path(&mut self) -> Result<Path, InvalidFilter> {
        let mut path = vec![Step::Field(self.name(&RESERVED)?)];
        loop {
            if self.take_mark(".") {
                path.push(Step::Field(self.name(&[])?));
            } else if self.take_mark("[") {
                path.push(Step::Item(self.index()?));
                self.expect_mark("]")?;
            } else {
                return Ok(path);
            }
        }
    }

    fn name(&mut self, reserved: &[&str]) -> Result<String, InvalidFilter> {
        match self.words.peek() {
            Some((_, Word::Name(name))) if !reserved.contains(&name.as_str()) => {
                let name = name.clone();
                self.words.next();
                Ok(name)
            }
            _ => Err(self.wrong("expected a field's name".to_owned())),
        }
    }

    fn index(&mut self) -> Result<usize, InvalidFilter> {
        match self.literal()? {
            Value::Number(n) => n.as_u64().and_then(|n| usize::try_from(n).ok()),
            _ => None,
        }
        .ok_or_else(|| self.wrong("an item's place is a whole number from 0".to_owned()))
    }

    fn list(&mut self) -> Result<Vec<Value>, InvalidFilter> {
        self.expect_mark("[")?;
        let mut values = vec![self.literal()?];
        while self.take_mark(",") {
            values.push(self.literal()?);
        }
        self.expect_mark("]")?;
        Ok(values)
    }

    fn comparison(&mut self) -> Result<Comparison, InvalidFilter> {
        let found = match self.words.peek() {
            Some((_, Word::Mark("=="))) => Comparison::Equal,
            Some((_, Word::Mark("!="))) => Comparison::Unequal,
            Some((_, Word::Mark("<"))) => Comparison::Less,
            Some((_, Word::Mark("<="))) => Comparison::LessOrEqual,
            Some((_, Word::Mark(">"))) => Comparison::Greater,
            Some((_, Word::Mark(">="))) => Comparison::GreaterOrEqual,
            _ => return Err(self.wrong("expected ==, !=, <, <=, >, >= or in".to_owned())),
        };
        self.words.next();
        Ok(found)
    }

    fn literal(&mut self) -> Result<Value, InvalidFilter> {
        let value = match self.words.peek() {
            Some((_, Word::Literal(value))) => value.clone(),
            Some((_, Word::Name(name))) => match name.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => return Err(self.wrong("expected a value; text stands in \"quotes\"".to_owned())),
            },
            _ => return Err(self.wrong("expected a string, a number, true, false or null".to_owned())),
        };
        self.words.next();
        Ok(value)
    }

    fn take_name(&mut self, wanted: &str) -> bool {
        self.words.next_if(|(_, word)| matches!(word, Word::Name(name) if name == wanted)).is_some()
    }

    fn take_mark(&mut self, wanted: &str) -> bool {
        self.words.next_if(|(_, word)| matches!(word, Word::Mark(mark) if *mark == wanted)).is_some()
    }

    fn expect_mark(&mut self, wanted: &str) -> Result<(), InvalidFilter> {
        if self.take_mark(wanted) { Ok(()) } else { Err(self.wrong(format!("expected `{wanted}`"))) }
    }

    /// What is wrong with the next word.
    fn wrong(&mut self, problem: String) -> InvalidFilter {
        InvalidFilter { at: self.words.peek().map_or(self.end, |(at, _)| *at), problem }
    }
}

fn alone(mut terms: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match (terms.len(), terms.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            terms.extend(last);
            join(terms)
        }
    }
}
