/*
 * version.h - the program's version, as it stands in outputs.
 * SPDX-License-Identifier: MIT
 */
#ifndef CORE_BASE_VERSION_H
#define CORE_BASE_VERSION_H

#define HCSMOE_VERSION "0.1.0"

#endif
