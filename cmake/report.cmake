# SPDX-License-Identifier: Apache-2.0
# Defines PATHBOUND_REPORT_SOURCES: the source generated from host/report_template.html and Chart.js, which
# host/report.cpp puts into every report.html. Include it where the library's target is defined.

find_file(PATHBOUND_CHART_JS chart.min.js
  PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist
  DOC "Chart.js 3, the one-file browser build (chart.min.js)")
if(NOT PATHBOUND_CHART_JS)
  message(FATAL_ERROR "chart.min.js (Chart.js 3) was not found: reports hold a copy of it. "
    "Install it (Debian, Ubuntu: apt-get install libjs-chart.js) or set PATHBOUND_CHART_JS to its path.")
endif()
# Its licence asks for the notice at the head of the file to be kept, and the page is written for major version 3.
file(READ "${PATHBOUND_CHART_JS}" pathbound_chart_head LIMIT 200)
if(NOT pathbound_chart_head MATCHES "Chart\\.js v3\\.")
  message(FATAL_ERROR "PATHBOUND_CHART_JS (${PATHBOUND_CHART_JS}) is not Chart.js 3: it begins with\n"
    "${pathbound_chart_head}")
endif()
unset(pathbound_chart_head)

set(PATHBOUND_REPORT_SOURCES ${CMAKE_CURRENT_BINARY_DIR}/generated/report_assets.cpp)
file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/generated)
add_custom_command(
  OUTPUT ${PATHBOUND_REPORT_SOURCES}
  COMMAND ${CMAKE_COMMAND} -DTEMPLATE=${CMAKE_CURRENT_SOURCE_DIR}/host/report_template.html
          -DCHART_JS=${PATHBOUND_CHART_JS} -DOUTPUT=${PATHBOUND_REPORT_SOURCES}
          -P ${CMAKE_CURRENT_LIST_DIR}/embed_report.cmake
  DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/host/report_template.html ${PATHBOUND_CHART_JS}
          ${CMAKE_CURRENT_LIST_DIR}/embed_report.cmake
  COMMENT "Embedding the report template and Chart.js"
  VERBATIM)
