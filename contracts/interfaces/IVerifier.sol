// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

/// @title What ezkl's generated verifiers expose
interface IVerifier {
    /// @notice True for a valid proof; reverts with empty data otherwise.
    /// @param proof The Halo2/KZG proof.
    /// @param instances Public inputs as field elements: model inputs, tag limbs, model outputs.
    function verifyProof(bytes calldata proof, uint256[] calldata instances) external returns (bool);
}
