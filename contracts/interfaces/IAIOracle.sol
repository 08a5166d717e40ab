// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// Two halves of one protocol, kept together as ORA does.
// solhint-disable one-contract-per-file

/// @title The part of ORA's onchain AI oracle that callers compile against
/// @notice Selectors and events are ORA's; a consumer written for them needs no change.
interface IAIOracle {
    event AICallbackRequest(
        address indexed account,
        uint256 indexed requestId,
        uint256 modelId,
        bytes input,
        address callbackContract,
        uint64 gasLimit,
        bytes callbackData
    );
    event AICallbackResult(
        address indexed account, uint256 indexed requestId, address invoker, bytes output
    );

    /// @notice Ask a model; the result is delivered to `callbackContract.aiOracleCallback`.
    /// @param modelId Registered model.
    /// @param input Request bytes in the model's codec.
    /// @param callbackContract The caller itself, or zero (with `gasLimit` 0) for no callback.
    /// @param gasLimit Exact gas given to the callback.
    /// @param callbackData Handed back to the callback unchanged.
    function requestCallback(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData
    ) external payable returns (uint256 requestId);

    /// @notice Wei to send with `requestCallback`; more is accepted and the unspent part credited.
    function estimateFee(uint256 modelId, uint256 gasLimit) external view returns (uint256);

    /// @notice True once the request has ended: fulfilled or refunded.
    function isFinalized(uint256 requestId) external view returns (bool);
}

/// @title What ORA's oracle calls on a consumer
interface IAIOracleCallbackReceiver {
    /// @notice Receives a proved result. Must come from the oracle only.
    function aiOracleCallback(uint256 requestId, bytes calldata output, bytes calldata callbackData)
        external;
}
