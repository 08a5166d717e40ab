// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IInferenceLens} from "./interfaces/IInferenceLens.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {TextCodec} from "./libraries/TextCodec.sol";

/// @title Why a request is not done
contract InferenceLens is IInferenceLens {
    /// @notice A callback with less gas cannot store one word in a new slot.
    uint64 public constant MIN_CALLBACK_GAS = 25_000;

    uint8 private constant CODEC_PACKED = 0;

    /// @inheritdoc IInferenceLens
    IInferenceOracle public immutable oracle;

    constructor(IInferenceOracle oracle_) {
        oracle = oracle_;
    }

    /// @inheritdoc IInferenceLens
    function diagnose(
        uint256 requestId,
        IInferenceOracle.Request calldata req,
        bytes calldata input
    ) external view returns (Diagnosis memory found) {
        IInferenceOracle.Status status = oracle.status(requestId);
        if (status != IInferenceOracle.Status.Open) {
            found.reason = _ended(requestId, status);
            return found;
        }
        if (
            oracle.commitments(requestId) != keccak256(abi.encode(req))
                || keccak256(input) != req.inputHash
        ) {
            found.reason = Reason.PreimageMismatch;
            return found;
        }
        _inspect(found, req, input);
        if (block.timestamp > req.deadline) {
            found.reason = Reason.Expired;
            return found;
        }
        found.secondsLeft = req.deadline - block.timestamp;
        // Where a client reports no base fee, the remembered one.
        uint256 baseFee = block.basefee == 0 ? oracle.lastBaseFee() : block.basefee;
        uint256 needed = baseFee * req.gasUnits;
        found.reason = Reason.Waiting;
        if (needed > req.gasMoney) {
            found.reason = Reason.Underfunded;
            found.gasMoneyShort = needed - req.gasMoney;
            found.topUpRequired =
                Math.max(found.gasMoneyShort, oracle.minimumTopUp(req.gasMoney));
        }
    }

    /// @dev What a deadline or a top-up does not change.
    function _inspect(
        Diagnosis memory found,
        IInferenceOracle.Request calldata req,
        bytes calldata input
    ) private view {
        bool wanted = req.callbackContract != address(0);
        found.callbackMissing = wanted && req.callbackContract.code.length == 0;
        found.callbackGasLow = wanted && req.callbackGas < MIN_CALLBACK_GAS;
        IModelRegistry registry = oracle.registry();
        found.modelClosed = !registry.isOpen(req.modelId);
        IModelRegistry.ProofTerms memory terms = registry.proofTerms(req.modelId, 1);
        uint256 rows = _rows(terms, input);
        if (rows != 1) terms = registry.proofTerms(req.modelId, rows);
        found.verifierLost = terms.verifier.codehash != terms.codeHash;
    }

    /// @dev How many inputs an accepted request has.
    function _rows(IModelRegistry.ProofTerms memory terms, bytes calldata input)
        private
        pure
        returns (uint256)
    {
        if (terms.codec == CODEC_PACKED) {
            return input.length / (uint256(terms.inputLength) * terms.inputWidth);
        }
        return TextCodec.countNumbers(input) / terms.inputLength;
    }

    function _ended(uint256 requestId, IInferenceOracle.Status status)
        private
        view
        returns (Reason)
    {
        if (status == IInferenceOracle.Status.Unknown) return Reason.Unknown;
        if (status == IInferenceOracle.Status.Refunded) return Reason.Refunded;
        return oracle.undelivered(requestId) == 0 ? Reason.Fulfilled : Reason.Undelivered;
    }
}
