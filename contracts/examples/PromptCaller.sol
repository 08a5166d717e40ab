// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IAIOracle, IAIOracleCallbackReceiver} from "../interfaces/IAIOracle.sol";

/// @title A caller in the manner of ORA's prompt contracts
/// @notice Sends a text of numbers, keeps the answer by request, and asks a second model about the
///         first one's answer from inside the callback. Knows nothing but ORA's interface.
contract PromptCaller is IAIOracleCallbackReceiver {
    /// @notice A request and its answer.
    struct Ask {
        address sender;
        uint256 modelId;
        string prompt;
        string answer;
    }

    uint64 public constant CALLBACK_GAS = 1_000_000;

    IAIOracle public immutable aiOracle;

    mapping(uint256 requestId => Ask) public asks;
    mapping(uint256 requestId => uint256 followUpId) public followUps;

    // What each request's sender paid for its follow-up.
    mapping(uint256 requestId => uint256) private _followUpMoney;

    event PromptRequested(uint256 indexed requestId, address sender, uint256 modelId, string prompt);
    event PromptAnswered(uint256 indexed requestId, string answer);

    error UnauthorizedCallbackSource(address caller);
    error Underpaid(uint256 sent, uint256 required);

    constructor(IAIOracle aiOracle_) {
        aiOracle = aiOracle_;
    }

    /// @notice Ask `modelId`; if `nextModelId` is not zero, ask that one about the answer.
    ///         Send what `estimate` says.
    function ask(uint256 modelId, uint256 nextModelId, string calldata prompt)
        external
        payable
        returns (uint256 requestId)
    {
        uint256 required = estimate(modelId, nextModelId);
        if (msg.value < required) revert Underpaid(msg.value, required);
        uint256 first = nextModelId == 0 ? msg.value : _fee(modelId);
        requestId = _ask(modelId, prompt, nextModelId, first);
        _followUpMoney[requestId] = msg.value - first;
    }

    /// @inheritdoc IAIOracleCallbackReceiver
    function aiOracleCallback(
        uint256 requestId,
        bytes calldata output,
        bytes calldata callbackData
    ) external {
        if (msg.sender != address(aiOracle)) revert UnauthorizedCallbackSource(msg.sender);
        string memory answer = string(output);
        asks[requestId].answer = answer;
        emit PromptAnswered(requestId, answer);
        uint256 nextModelId = abi.decode(callbackData, (uint256));
        if (nextModelId != 0) {
            uint256 money = _followUpMoney[requestId];
            _followUpMoney[requestId] = 0;
            followUps[requestId] = _ask(nextModelId, answer, 0, money);
        }
    }

    /// @notice Wei to send with `ask`.
    function estimate(uint256 modelId, uint256 nextModelId) public view returns (uint256) {
        return _fee(modelId) + (nextModelId == 0 ? 0 : _fee(nextModelId));
    }

    function _ask(uint256 modelId, string memory prompt, uint256 nextModelId, uint256 value)
        private
        returns (uint256 requestId)
    {
        // The oracle never calls back inside the request, so what follows comes before the answer.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        requestId = aiOracle.requestCallback{value: value}(
            modelId, bytes(prompt), address(this), CALLBACK_GAS, abi.encode(nextModelId)
        );
        asks[requestId] = Ask(msg.sender, modelId, prompt, "");
        emit PromptRequested(requestId, msg.sender, modelId, prompt);
    }

    function _fee(uint256 modelId) private view returns (uint256) {
        return aiOracle.estimateFee(modelId, CALLBACK_GAS);
    }
}
