// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IAIOracle, IAIOracleCallbackReceiver} from "../interfaces/IAIOracle.sol";

/// @title A caller that knows nothing but ORA's interface
/// @notice Asks any model and keeps the raw result bytes.
contract PlainCaller is IAIOracleCallbackReceiver {
    uint64 public constant CALLBACK_GAS = 300_000;

    IAIOracle public immutable aiOracle;

    mapping(uint256 requestId => bytes) public results;

    event ResultStored(uint256 indexed requestId, bytes output);

    error UnauthorizedCallbackSource(address caller);

    constructor(IAIOracle aiOracle_) {
        aiOracle = aiOracle_;
    }

    /// @notice Ask `modelId`; `input` is in the model's codec.
    function ask(uint256 modelId, bytes calldata input) external payable returns (uint256) {
        return aiOracle.requestCallback{value: msg.value}(
            modelId, input, address(this), CALLBACK_GAS, ""
        );
    }

    /// @inheritdoc IAIOracleCallbackReceiver
    function aiOracleCallback(uint256 requestId, bytes calldata output, bytes calldata) external {
        if (msg.sender != address(aiOracle)) revert UnauthorizedCallbackSource(msg.sender);
        results[requestId] = output;
        emit ResultStored(requestId, output);
    }
}
