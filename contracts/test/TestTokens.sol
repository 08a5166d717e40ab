// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

// solhint-disable one-contract-per-file

/// @notice An ERC-20 that anyone can mint.
contract TestToken is ERC20 {
    constructor() ERC20("Test", "TEST") {}

    function mint(address account, uint256 amount) external {
        _mint(account, amount);
    }
}

/// @notice Burns one percent of every transfer.
contract FeeOnTransferToken is TestToken {
    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0) || to == address(0)) return super._update(from, to, value);
        super._update(from, address(0), value / 100);
        super._update(from, to, value - value / 100);
    }
}

/// @notice Calls the sender back before each transfer, as ERC-777 does, and burns half of it.
contract HookedToken is TestToken {
    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0) || to == address(0)) return super._update(from, to, value);
        if (from.code.length != 0) IPayer(from).beforePayment();
        super._update(from, address(0), value / 2);
        super._update(from, to, value - value / 2);
    }
}

/// @notice Calls the sender back before each transfer and keeps nothing.
contract CallingToken is TestToken {
    function _update(address from, address to, uint256 value) internal override {
        if (from.code.length != 0) IPayer(from).beforePayment();
        super._update(from, to, value);
    }
}

/// @notice Takes payments and, when it should pay, answers false instead of reverting.
contract MiserToken is TestToken {
    function transfer(address, uint256) public pure override returns (bool) {
        return false;
    }
}

interface IPayer {
    function beforePayment() external;
}

/// @notice Transfers return nothing, as early tokens do; and can be switched off.
contract NoReturnToken {
    mapping(address account => uint256) public balanceOf;
    bool public isOff;

    function mint(address account, uint256 amount) external {
        balanceOf[account] += amount;
    }

    function approve(address, uint256) external pure {}

    function switchOff() external {
        isOff = true;
    }

    function transfer(address to, uint256 amount) external {
        _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external {
        _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private {
        require(!isOff, "off");
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
    }
}

/// @notice Answers false instead of reverting.
contract FalseToken {
    function balanceOf(address) external pure returns (uint256) {
        return 1 ether;
    }

    function transferFrom(address, address, uint256) external pure returns (bool) {
        return false;
    }
}
