"""The error tree: stable codes, one line each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oracle.errors import ConfigError, OracleError


def tree(root: type[OracleError] = OracleError) -> Iterator[type[OracleError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


@pytest.fixture(scope="module")
def leaves() -> list[type[OracleError]]:
    import oracle.errors

    return [error for error in tree() if error.__module__ == oracle.errors.__name__]


def test_codes__are_unique_and_shouted(leaves) -> None:
    codes = [error.code for error in leaves]
    assert len(set(codes)) == len(codes)
    assert all(code == code.upper() and code.replace("_", "").isalpha() for code in codes)


def test_codes__are_those_that_alerts_match(leaves) -> None:
    released = {
        "ORACLE",
        "USAGE",
        "CONFIG",
        "MODEL_MALFORMED",
        "MODEL_UNSUPPORTED",
        "TENSOR_LENGTH",
        "TENSOR_RANGE",
        "TENSOR_ENCODING",
        "TOOLCHAIN",
        "CIRCUIT_INACCURATE",
        "CIRCUIT_TOO_LARGE",
        "VERIFIER_TOO_LARGE",
        "SRS_MISMATCH",
        "BUNDLE_INVALID",
        "SOLIDITY_REJECTED",
        "PROVER_INPUT",
        "PROVER_TIMEOUT",
        "PROVER_MEMORY",
        "PROVER_CRASHED",
        "PROOF_INVALID",
        "RPC_UNREACHABLE",
        "RPC_REJECTED",
        "WRONG_CHAIN",
        "CONTRACT_MISMATCH",
        "ACCOUNT_UNFUNDED",
        "TRANSACTION_REVERTED",
        "REQUEST_TIMEOUT",
        "STORE",
    }
    assert released <= {error.code for error in leaves}


def test_every_error__has_a_default_message_and_its_branchs_exit_code(leaves) -> None:
    for error in leaves:
        assert error().message.endswith(".")
        branch = error if error is OracleError else error.__mro__[-5]
        assert error.exit_code == branch.exit_code


def test_line__always_is_one_line_with_code_and_remedy() -> None:
    error = ConfigError("field 'x'\nis  wrong.", remedy="Correct\nit.")
    assert error.line() == "CONFIG: field 'x' is wrong. Correct it."
    assert ConfigError("wrong").line() == "CONFIG: wrong."


def test_message__others_words_with_terminal_escapes__come_out_as_text() -> None:
    words = "\x1b]0;pwned\x07\x1b[31mred\x9b0m \u202etxet\r\x7f"
    error = ConfigError(f"said: {words}", remedy=words)
    for text in (error.message, error.remedy or "", str(error), error.line()):
        assert text.isprintable()
        assert "[31mred" in text
    assert ConfigError("näive ✓ 数\n\tnext").message == "näive ✓ 数\n\tnext"
