// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IAIOracleCallbackReceiver} from "./interfaces/IAIOracle.sol";
import {IInferenceOracle} from "./interfaces/IInferenceOracle.sol";

/// @title Base of a contract that receives proved results
/// @notice Inherit it, ask the oracle, and implement `_onResult`. Results come from the oracle only.
abstract contract InferenceConsumer is IAIOracleCallbackReceiver {
    /// @notice The oracle that this contract trusts, for good.
    IInferenceOracle public immutable oracle;

    /// @notice Only the oracle may deliver results.
    error NotOracle(address caller);

    constructor(IInferenceOracle oracle_) {
        oracle = oracle_;
    }

    /// @inheritdoc IAIOracleCallbackReceiver
    function aiOracleCallback(
        uint256 requestId,
        bytes calldata output,
        bytes calldata callbackData
    ) external {
        if (msg.sender != address(oracle)) revert NotOracle(msg.sender);
        _onResult(requestId, output, callbackData);
    }

    /// @notice Use a proved result. A revert here costs the callback, not the request, which is
    ///         finished: anyone can make the callback again (`retryCallback`).
    /// @param requestId What the oracle returned for the request.
    /// @param output The proved output in the model's codec (see `TensorCodec.unpack`).
    /// @param callbackData What was passed along with the request.
    function _onResult(uint256 requestId, bytes calldata output, bytes calldata callbackData)
        internal
        virtual;
}
