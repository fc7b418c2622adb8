//! The text form of dims and shapes.

use super::dim::{Dim, Function, MAX_DEPTH};
use super::simplify;
use super::{MAX_RANK, Shape};
use crate::error::{Error, Result};

/// The longest text of one dim, in bytes; the text of every dim fits.
pub const MAX_TEXT: usize = 8192;

struct Reader<'a> {
    text: &'a str,
    position: usize,
    depth: usize,
}

/// See [`Dim::parse`].
pub(super) fn dim(text: &str) -> Result<Dim> {
    check_length(text, MAX_TEXT)?;
    let mut reader = Reader { text, position: 0, depth: 0 };
    let dim = reader.sum()?;
    reader.finish()?;
    Ok(dim)
}

/// See [`Shape::parse`].
pub(super) fn shape(text: &str) -> Result<Shape> {
    check_length(text, MAX_TEXT * MAX_RANK)?;
    let mut reader = Reader { text, position: 0, depth: 0 };
    reader.expect(b'[')?;
    let mut dims = Vec::new();
    if !reader.take(b']') {
        loop {
            dims.push(reader.sum()?);
            if dims.len() > MAX_RANK {
                return Err(Error::argument(format!("a shape has more than {MAX_RANK} dims")));
            }
            if reader.take(b']') {
                break;
            }
            reader.expect(b',')?;
        }
    }
    reader.finish()?;
    Shape::new(dims)
}

fn check_length(text: &str, limit: usize) -> Result<()> {
    if text.len() > limit {
        return Err(Error::argument(format!("the text has {} bytes, more than {limit}", text.len())));
    }
    Ok(())
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.position).is_some_and(u8::is_ascii_whitespace) {
            self.position += 1;
        }
        bytes.get(self.position).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected(&format!("'{}'", char::from(byte)))) }
    }

    fn finish(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    fn unexpected(&mut self, wanted: &str) -> Error {
        const SHOWN: usize = 40;
        self.peek();
        let rest: String = self.text.get(self.position..).unwrap_or("").chars().take(SHOWN).collect();
        let found = if rest.is_empty() { "the end".to_string() } else { format!("{rest:?}") };
        Error::argument(format!("a dim's text has {found} at {} where {wanted} is expected", self.position))
    }

    /// Everything that matches `keep` from here, which is ASCII.
    fn run(&mut self, keep: impl Fn(u8) -> bool) -> &str {
        let start = self.position;
        let length = self.text.as_bytes().iter().skip(start).take_while(|&&byte| keep(byte)).count();
        self.position += length;
        self.text.get(start..start + length).unwrap_or("")
    }

    fn sum(&mut self) -> Result<Dim> {
        self.depth += 1;
        // The sum outside all parentheses is not nested.
        if self.depth > MAX_DEPTH + 1 {
            return Err(Error::argument(format!("a dim's text is nested deeper than {MAX_DEPTH}")));
        }
        let negative = self.take(b'-');
        let mut sum = self.product(negative)?;
        loop {
            let negative = match self.peek() {
                Some(b'+') => false,
                Some(b'-') => true,
                _ => break,
            };
            self.position += 1;
            sum = sum.add(&self.product(negative)?)?;
        }
        self.depth -= 1;
        Ok(sum)
    }

    fn product(&mut self, negative: bool) -> Result<Dim> {
        // The sign belongs to a number, so that the least 64-bit integer can be read.
        let mut product = match self.peek() {
            Some(byte) if byte.is_ascii_digit() => self.integer(negative)?,
            _ if negative => self.factor()?.scale(-1)?,
            _ => self.factor()?,
        };
        while self.take(b'*') {
            product = product.mul(&self.factor()?)?;
        }
        Ok(product)
    }

    fn factor(&mut self) -> Result<Dim> {
        match self.peek() {
            Some(byte) if byte.is_ascii_digit() => self.integer(false),
            Some(b'(') => {
                self.position += 1;
                let inner = self.sum()?;
                self.expect(b')')?;
                Ok(inner)
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => self.word(),
            _ => Err(self.unexpected("an integer, a name or '('")),
        }
    }

    fn integer(&mut self, negative: bool) -> Result<Dim> {
        let digits = self.run(|byte| byte.is_ascii_digit());
        let value = digits.bytes().try_fold(0i64, |value, digit| {
            let digit = i64::from(digit - b'0');
            let value = value.checked_mul(10)?;
            if negative { value.checked_sub(digit) } else { value.checked_add(digit) }
        });
        value
            .map(Dim::constant)
            .ok_or_else(|| Error::argument("a dim's text has a number that does not fit in 64 bits"))
    }

    fn word(&mut self) -> Result<Dim> {
        let name = self.run(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let Some(function) = Function::ALL.into_iter().find(|function| function.name() == name) else {
            return Dim::symbol(name);
        };
        self.expect(b'(')?;
        let mut arguments = vec![self.sum()?];
        while self.take(b',') {
            arguments.push(self.sum()?);
        }
        self.expect(b')')?;
        simplify::call(function, &arguments)
    }
}
