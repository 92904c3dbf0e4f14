# How a room of the house is declared: tango_library(), tango_program(), tango_test().

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2")  # asserts stay on

find_program(TANGO_CCACHE ccache)
if(TANGO_CCACHE)
  # Paths relative to the source folder: a second clone, and the demo's build, hit the same cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${TANGO_CCACHE})
endif()
find_program(TANGO_MOLD mold)
if(TANGO_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# Warnings are errors on our own code only; headers of libraries come in as SYSTEM.
add_library(tango_flags INTERFACE)
target_compile_options(tango_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Werror)
target_include_directories(tango_flags INTERFACE ${PROJECT_SOURCE_DIR})

# tango_library(NAME SOURCES a.cpp ... [PUBLIC targets...] [PRIVATE targets...])
function(tango_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC tango_flags ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# tango_program(NAME SOURCES main.cpp ... LIBS targets...)
function(tango_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tango_flags ${ARG_LIBS})
endfunction()

# tango_test(NAME SOURCES x_test.cpp ... LIBS targets... [TIMEOUT s] [LABELS ...] [ENV A=b ...] [SERIAL])
# One ctest entry per test program; ctest -L component etc. picks by tier.
function(tango_test name)
  cmake_parse_arguments(ARG "SERIAL" "TIMEOUT" "SOURCES;LIBS;LABELS;ENV" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tango_flags ${ARG_LIBS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "TANGO_SOURCE_DIR=${PROJECT_SOURCE_DIR};TANGO_BIN_DIR=${CMAKE_BINARY_DIR}/bin;${ARG_ENV}")
  if(ARG_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL TRUE)
  endif()
endfunction()
