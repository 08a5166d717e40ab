// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IInferenceOracle} from "./IInferenceOracle.sol";
import {IModelErrors} from "./IModelErrors.sol";

/// @title Why a request is not done
/// @notice Plain views for wallets and explorers; they hold no money and no state.
interface IInferenceLens is IModelErrors {
    /// @notice What stands between a request and its result. The first that applies is reported.
    /// @dev `Unknown`: nobody made this request here. `Fulfilled`, `Undelivered` (fulfilled, but the
    ///      callback failed and can be retried), `Refunded`: it has ended. `PreimageMismatch`: the
    ///      given preimage or input is not the request's. `Expired`: refund it. `Underfunded`: the
    ///      base fee is above what the gas money pays; top it up. `Waiting`: nothing; a node may
    ///      answer.
    enum Reason {
        Unknown,
        Fulfilled,
        Undelivered,
        Refunded,
        PreimageMismatch,
        Expired,
        Underfunded,
        Waiting
    }

    /// @notice The answer, with figures. Figures are zero where the request has ended or the
    ///         preimage is wrong.
    /// @param reason See `Reason`.
    /// @param gasMoneyShort Wei by which the gas money falls short at the current base fee.
    /// @param topUpRequired Wei to send to `topUp`; zero if none is needed.
    /// @param secondsLeft Until the deadline.
    /// @param callbackMissing A callback is wanted but there is no code at its address.
    /// @param callbackGasLow The callback gas is below `MIN_CALLBACK_GAS`, less than storing one
    ///        word takes: unless the callback does next to nothing, it will fail.
    /// @param modelClosed The model takes no new requests (this one is still served).
    /// @param verifierLost The code of the verifier for the request's number of rows is gone or has
    ///        changed: `fulfill` refuses (a batch, which has another verifier, may still deliver a
    ///        request of one row).
    struct Diagnosis {
        Reason reason;
        uint256 gasMoneyShort;
        uint256 topUpRequired;
        uint256 secondsLeft;
        bool callbackMissing;
        bool callbackGasLow;
        bool modelClosed;
        bool verifierLost;
    }

    /// @notice Why a request is not done.
    /// @param requestId The request.
    /// @param req Its preimage, from `AICallbackRequest`, `RequestOpened` and `RequestToppedUp`.
    /// @param input The request bytes, from `AICallbackRequest`: they say how many rows it has.
    function diagnose(
        uint256 requestId,
        IInferenceOracle.Request calldata req,
        bytes calldata input
    ) external view returns (Diagnosis memory);

    /// @notice The oracle that this contract looks at.
    function oracle() external view returns (IInferenceOracle);
}
