# SPDX-License-Identifier: Apache-2.0
# Runs PROGRAM, through LAUNCHER (comma-separated) if there is one, on a copy of SAMPLE, and compares what
# it prints with the file EXPECTED.
string(REPLACE "," ";" LAUNCHER "${LAUNCHER}")
set(copy ${PROGRAM}.safetensors)
file(COPY_FILE ${SAMPLE} ${copy})
execute_process(COMMAND ${LAUNCHER} ${PROGRAM} ${copy} OUTPUT_VARIABLE printed RESULT_VARIABLE status)
if(status)
  message(FATAL_ERROR "exit status ${status}")
endif()
file(READ ${EXPECTED} expected)
if(NOT printed STREQUAL expected)
  message(FATAL_ERROR "printed:\n${printed}expected:\n${expected}")
endif()
