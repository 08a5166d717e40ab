// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

// Two halves of one protocol, kept together as ORA does.
// solhint-disable one-contract-per-file

/// @title ORA's onchain AI oracle, as callers compile against it
/// @notice Selectors and events are ORA's; a consumer written for them needs no change.
interface IAIOracle {
    /// @notice A request was made.
    /// @param account Who made it.
    /// @param requestId Its id.
    /// @param modelId The model asked.
    /// @param input The request bytes in the model's codec.
    /// @param callbackContract Receiver of the result, or zero.
    /// @param gasLimit Exact gas for the callback.
    /// @param callbackData Handed back to the callback unchanged.
    event AICallbackRequest(
        address indexed account,
        uint256 indexed requestId,
        uint256 modelId,
        bytes input,
        address callbackContract,
        uint64 gasLimit,
        bytes callbackData
    );
    /// @notice A request was answered with a proved result.
    /// @param account Who made the request.
    /// @param requestId Its id.
    /// @param invoker Who sent the fulfilment.
    /// @param output The proved output in the model's codec.
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

    /// @notice `requestCallback` with ORA's data availability choice.
    /// @param inputDA Must be 0: the input is in calldata. Everything else reverts.
    /// @param outputDA Must be 0: the output is in calldata. Everything else reverts.
    function requestCallback(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData,
        uint8 inputDA,
        uint8 outputDA
    ) external payable returns (uint256 requestId);

    /// @notice Ask a model about several inputs in one request and one proof.
    /// @param batchSize Number of inputs.
    /// @param input The inputs one after the other; the output comes back likewise.
    /// @param inputDA Must be 0.
    /// @param outputDA Must be 0.
    function requestBatchInference(
        uint256 batchSize,
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 gasLimit,
        bytes calldata callbackData,
        uint8 inputDA,
        uint8 outputDA
    ) external payable returns (uint256 requestId);

    /// @notice Wei to send with `requestCallback`; more is accepted and the unspent part credited.
    ///         A fee in a token is not part of it.
    function estimateFee(uint256 modelId, uint256 gasLimit) external view returns (uint256);

    /// @notice Wei to send with `requestBatchInference`.
    function estimateFeeBatch(uint256 modelId, uint256 gasLimit, uint256 batchSize)
        external
        view
        returns (uint256);

    /// @notice True once the request has ended: fulfilled or refunded.
    function isFinalized(uint256 requestId) external view returns (bool);

    /// @notice A model as ORA describes one.
    /// @return modelHash SHA-256 of the ONNX file.
    /// @return programHash SHA-256 of the verifying key of the single-row circuit.
    /// @return fee Price of one inference, in `token`.
    /// @return receiver Who gets the publisher's share.
    /// @return receiverPercentage That share in whole percent, rounded down.
    /// @return accumulateRevenue What the receiver can withdraw here in `token`, of all its models.
    /// @return token Currency of the fee; zero is ETH.
    /// @return unverifiable Always false: nothing is delivered without a proof.
    function getModel(uint256 modelId)
        external
        view
        returns (
            bytes32 modelHash,
            bytes32 programHash,
            uint256 fee,
            address receiver,
            uint256 receiverPercentage,
            uint256 accumulateRevenue,
            address token,
            bool unverifiable
        );

    /// @notice How many models are registered.
    function numberOfModels() external view returns (uint256);

    /// @notice Id of the model at `index`, from 0 to `numberOfModels() - 1`.
    function modelIDs(uint256 index) external view returns (uint256);
}

/// @title What ORA's oracle calls on a consumer with a result
interface IAIOracleCallbackReceiver {
    /// @notice Receives a proved result. Must come from the oracle only.
    function aiOracleCallback(uint256 requestId, bytes calldata output, bytes calldata callbackData)
        external;
}

/// @title What ORA's oracle calls on a consumer that wants to hear of bad requests
/// @notice The oracle never calls it: a request that could cause it reverts instead. `OraAdapter` does.
interface IAIOracleErrorReceiver is IAIOracleCallbackReceiver {
    /// @notice Receives ORA's report of a bad request.
    /// @param code 0 invalid input, 1 invalid batch size.
    function aiOracleCallbackError(
        uint256 requestId,
        uint8 code,
        bytes calldata message,
        bytes calldata callbackData
    ) external;
}
