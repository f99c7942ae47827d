//! The files, and their statements.

use std::path::{Path, PathBuf};

use sqlparser::ast::Statement;
use sqlparser::dialect::{Dialect, SnowflakeDialect};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// A statement as tokens, and as one line of words.
pub(crate) struct Piece {
    tokens: Vec<TokenWithSpan>,
    /// Its words and signs, a space between any two.
    pub(crate) words: String,
}

impl Piece {
    /// The statement, as a parser of `dialect` reads it.
    pub(crate) fn parse(&self, dialect: &dyn Dialect) -> Result<Statement, ParserError> {
        let mut parser = Parser::new(dialect).with_tokens_with_locations(self.tokens.clone());
        let statement = parser.parse_statement()?;
        parser.expect_token(&Token::EOF)?;
        Ok(statement)
    }

    /// The statement without a clause.
    pub(crate) fn without(&self, clause: &str) -> Self {
        let clause: Vec<&str> = clause.split(' ').collect();
        let words: Vec<String> = self.tokens.iter().map(|t| t.token.to_string()).collect();
        let at = words.windows(clause.len()).position(|w| w == clause).expect(&self.words);
        let mut tokens = self.tokens.clone();
        tokens.drain(at..at + clause.len());
        Self::new(tokens)
    }

    fn new(tokens: Vec<TokenWithSpan>) -> Self {
        let words = tokens.iter().map(|t| t.token.to_string()).collect::<Vec<_>>().join(" ");
        Self { tokens, words }
    }
}

/// A path from the project's root.
pub(crate) fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("proto lies in the project").join(path)
}

/// A file's text.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The statements in `text`, without comments.
pub(crate) fn pieces(text: &str, dialect: &dyn Dialect) -> Vec<Piece> {
    let tokens = Tokenizer::new(dialect, text).tokenize_with_location().expect("it consists of tokens");
    tokens
        .split(|t| t.token == Token::SemiColon)
        .map(|piece| piece.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).cloned().collect::<Vec<_>>())
        .filter(|piece| !piece.is_empty())
        .map(Piece::new)
        .collect()
}

/// Names of the files for Snowflake, in the order in which they are run, and their statements.
pub(crate) fn snowflake() -> Vec<(String, Vec<Piece>)> {
    let names = std::fs::read_dir(at("deploy/snowflake")).expect("the folder is there");
    let mut names: Vec<String> = names
        .map(|file| file.expect("it can be read").file_name())
        .filter_map(|name| name.into_string().ok())
        .collect();
    names.retain(|name| Path::new(name).extension().is_some_and(|extension| extension == "sql"));
    names.sort();
    let statements = |name: &str| pieces(&text(&format!("deploy/snowflake/{name}")), &SnowflakeDialect);
    names.into_iter().map(|name| (name.clone(), statements(&name))).collect()
}
