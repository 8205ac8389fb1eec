# SPDX-License-Identifier: Apache-2.0
# cmake -DTEMPLATE=... -DCHART_JS=... -DOUTPUT=... -P embed_report.cmake
# Writes the C++ source that holds the report's page template and Chart.js as string literals.

function(append_literal name file)
  file(READ "${file}" text)
  string(LENGTH "${text}" length)
  string(FIND "${text}" ")pathbound\"" end)
  if(length EQUAL 0 OR NOT end EQUAL -1)
    message(FATAL_ERROR "${file} cannot be embedded: it is empty or contains )pathbound\"")
  endif()
  # "extern": a const variable would otherwise be local to its source.
  file(APPEND "${OUTPUT}.tmp" "extern const std::string_view ${name};\n"
       "const std::string_view ${name} = R\"pathbound(${text})pathbound\";\n\n")
endfunction()

file(WRITE "${OUTPUT}.tmp" "// Generated from ${TEMPLATE} and ${CHART_JS}: do not edit.\n"
     "#include <string_view>\n\nnamespace pathbound {\n\n")
append_literal(report_template "${TEMPLATE}")
append_literal(report_chart_js "${CHART_JS}")
file(APPEND "${OUTPUT}.tmp" "}  // namespace pathbound\n")
file(RENAME "${OUTPUT}.tmp" "${OUTPUT}")
