// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

/// @title Data that never changes, kept as the code of a contract
/// @notice Read with one EXTCODECOPY, without a call. Its address follows from its creator's and from
///         how many contracts that had created before, so that a reader looks nothing up. The code
///         begins with STOP: nobody can run it, and so nobody can change or end it.
library DataContract {
    /// @notice Where the data begin in the code.
    uint256 internal constant START = 1;

    /// @dev Returns all that follows it:
    ///      CODESIZE PUSH1(12) SWAP1 SUB DUP1 PUSH1(12) PUSH0 CODECOPY PUSH0 RETURN.
    bytes12 private constant RETURN_THE_REST = 0x38600c900380600c5f395ff3;

    /// @notice Create a contract that holds `data`.
    /// @return where Its address; zero if it could not be created.
    function create(bytes memory data) internal returns (address where) {
        bytes memory code = bytes.concat(RETURN_THE_REST, hex"00", data);
        assembly ("memory-safe") {
            where := create(0, add(code, 32), mload(code))
        }
    }

    /// @notice Address of the contract that `creator` made with its nonce `nonce`, which counts from
    ///         1: `keccak256(rlp([creator, nonce]))`. Zero, where no code is, if no contract of its
    ///         can have been made with it: for 0, and for 2**32 and more.
    function addressOf(address creator, uint256 nonce) internal pure returns (address where) {
        // Greater ones would not fit the bytes below, and so stand for another.
        if (nonce == 0 || nonce > type(uint32).max) return address(0);
        assembly ("memory-safe") {
            // A nonce below 128 is one byte; greater ones follow a byte that says how many they have.
            let extra := 0
            let tail := nonce
            if gt(nonce, 0x7f) {
                extra := add(
                    1, add(gt(nonce, 0xff), add(gt(nonce, 0xffff), gt(nonce, 0xffffff)))
                )
                tail := or(shl(mul(8, extra), add(0x80, extra)), nonce)
            }
            // In scratch space: a list of 22 bytes and the extra ones, then an address of 20 bytes.
            mstore(0, shl(80, or(shl(168, add(0xd6, extra)), or(shl(160, 0x94), creator))))
            mstore(22, shl(sub(248, mul(8, extra)), tail))
            where := shr(96, shl(96, keccak256(0, add(23, extra))))
        }
    }
}
