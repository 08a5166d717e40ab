// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IModelRegistry} from "../interfaces/IModelRegistry.sol";
import {CeremonySrs} from "./CeremonySrs.sol";

/// @title Whose honesty proofs rest on, by proof system
/// @notice From what is registered alone. That key and verifier come from the set-up of that hash, and
///         the ceremony from its transcript, is shown by making and checking them again.
library SetupRules {
    /// @notice How far a circuit's set-up is to be trusted.
    /// @param circuit The circuit, of a known proof system.
    /// @param transcriptHash Of the model's own ceremony; zero without one.
    function trustOf(IModelRegistry.Verifier calldata circuit, bytes32 transcriptHash)
        internal
        pure
        returns (IModelRegistry.Trust)
    {
        if (circuit.system == IModelRegistry.ProofSystem.Stark) {
            return IModelRegistry.Trust.Transparent;
        }
        if (circuit.system == IModelRegistry.ProofSystem.Halo2Kzg) {
            return CeremonySrs.includes(circuit.setupHash)
                ? IModelRegistry.Trust.UniversalCeremony
                : IModelRegistry.Trust.OneParty;
        }
        return transcriptHash == 0
            ? IModelRegistry.Trust.OneParty
            : IModelRegistry.Trust.Ceremony;
    }
}
