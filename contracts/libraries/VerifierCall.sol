// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

import {IVerifier} from "../interfaces/IVerifier.sol";

/// @title The call of a verifier, made where its public inputs are written
library VerifierCall {
    /// @notice `abi.encodeCall(IVerifier.verifyProof, (proof, instances))` with instances yet to be
    ///         written: the array lies inside of the call, so that nothing is copied a second time.
    /// @param length How many instances.
    /// @return encoded The encoded call.
    /// @return instances The array in it; all zero.
    function prepare(bytes calldata proof, uint256 length)
        internal
        pure
        returns (bytes memory encoded, uint256[] memory instances)
    {
        bytes4 selector = IVerifier.verifyProof.selector;
        assembly ("memory-safe") {
            encoded := mload(0x40)
            let padded := and(add(proof.length, 31), not(31))
            let arguments := add(encoded, 36)
            let source := add(arguments, 0x40)
            instances := add(add(source, 32), padded)
            let fields := add(instances, 32)
            let end := add(fields, mul(32, length))

            mstore(encoded, sub(end, add(encoded, 32)))
            mstore(add(encoded, 32), selector)
            mstore(arguments, 0x40)
            mstore(add(arguments, 32), sub(instances, arguments))
            // First, as the proof's last word ends in zeros; where it is empty this is its length.
            mstore(sub(instances, 32), 0)
            mstore(source, proof.length)
            calldatacopy(add(source, 32), proof.offset, proof.length)
            mstore(instances, length)
            // Beyond the calldata all is zero.
            calldatacopy(fields, calldatasize(), mul(32, length))
            mstore(0x40, and(add(end, 31), not(31)))
        }
    }
}
